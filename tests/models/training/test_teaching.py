import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from models.card import read_card
from models.errors import DatasetError, WeightsError
from models.recipe import TeachConfig, TrainConfig
from models.registry import build
from models.train import TrainProgress, train
from models.training.augment import AugmentConfig
from models.training.parallel import Processes
from models.training.run import Run
from models.training.teaching import Teachers, read_teachers
from tests.models.training_runs import (
    COLOUR,
    assert_same,
    read_weights_beside,
    write_data,
)

pytestmark = pytest.mark.usefixtures("architectures")

CPU = torch.device("cpu")
TEACHER = replace(COLOUR, name="teacher")
LEARNER = replace(COLOUR, name="learner", seed=1, teach=TeachConfig(("teacher",), share=1.0))


class Certain(nn.Module):
    """Answers with the same logits always."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.logits.expand(len(pixels), -1)


class Stopped(Exception):
    pass


@pytest.fixture(scope="module")
def runs(architectures: None, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs with a teacher in it."""
    folder = tmp_path_factory.mktemp("runs")
    train(TEACHER, data, folder / "teacher", device="cpu")
    return folder


def learn(data: Path, runs: Path, config: TrainConfig = LEARNER, out: str = "learner") -> Path:
    return train(config, data, runs / out, device="cpu")


def test_a_target_is_the_label_and_the_mean_of_the_teachers_in_their_shares():
    even, three_to_one = Certain(0.0, 0.0), Certain(0.0, float(torch.log(torch.tensor(3.0))))
    teachers = Teachers([even, three_to_one], share=0.4)

    target = teachers.teach(torch.zeros(1, 3, 4, 4), torch.tensor([[1.0, 0.0]]))

    # the mean of (1/2, 1/2) and (1/4, 3/4) is (3/8, 5/8)
    torch.testing.assert_close(target, torch.tensor([[0.6 + 0.4 * 3 / 8, 0.4 * 5 / 8]]))


def test_a_learner_of_a_teacher_alone_does_not_see_the_labels(
    data: Path, runs: Path, tmp_path: Path
):
    train(TEACHER, data, tmp_path / "teacher", device="cpu")
    exchanged = write_data(tmp_path / "exchanged", exchanged=True)
    untaught = replace(LEARNER, teach=TeachConfig())

    assert_same(
        read_weights_beside(learn(data, runs)), read_weights_beside(learn(exchanged, tmp_path))
    )
    with pytest.raises(AssertionError):
        assert_same(
            read_weights_beside(learn(data, runs, untaught, "alone")),
            read_weights_beside(learn(exchanged, tmp_path, untaught, "alone")),
        )


def test_the_card_names_the_teachers_and_their_weights(data: Path, runs: Path):
    teacher = read_card(runs / "teacher" / "teacher.json")
    card = read_card(learn(data, runs))
    assert card.metrics["training"]["teachers"] == {"teacher": teacher.weights_sha256}


def test_a_stopped_learner_ends_in_the_weights_of_one_that_was_not(data: Path, runs: Path):
    def stop(progress: TrainProgress) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        train(LEARNER, data, runs / "stopped", device="cpu", on_progress=stop)

    resumed = read_weights_beside(learn(data, runs, out="stopped"))
    assert_same(resumed, read_weights_beside(learn(data, runs)))


def test_a_learner_does_not_go_on_with_another_teacher(data: Path, tmp_path: Path):
    train(TEACHER, data, tmp_path / "teacher", device="cpu")
    learn(data, tmp_path)
    shutil.rmtree(tmp_path / "teacher")
    train(replace(TEACHER, seed=5), data, tmp_path / "teacher", device="cpu")

    with pytest.raises(WeightsError, match=r"trained again since \(teacher\)"):
        learn(data, tmp_path)


def test_a_teacher_that_is_not_trained_is_named_with_the_way_out(data: Path, tmp_path: Path):
    with pytest.raises(DatasetError, match="`wsi train teacher` into the same folder"):
        learn(data, tmp_path)
    assert not (tmp_path / "learner" / "state.safetensors").exists()


@pytest.mark.parametrize(
    "changed",
    [{"mpp": 2.0}, {"tile_px": 64}, {"input_px": 64}, {"classes": ("idc", "non_idc")}],
)
def test_a_teacher_of_other_tiles_is_refused(runs: Path, changed: dict[str, object]):
    config = replace(LEARNER, **changed)  # type: ignore[arg-type]
    split = read_card(runs / "teacher" / "teacher.json").split
    with pytest.raises(DatasetError, match=f"its {next(iter(changed))} is"):
        read_teachers(config, split, runs, CPU)


def test_a_teacher_sees_pixels_normalised_as_its_own(data: Path, runs: Path) -> None:
    """The learner's normalisation is another one; the tiles are the same."""
    other = replace(LEARNER, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    one, another = (
        read_teachers(config, read_card(runs / "teacher" / "teacher.json").split or "", runs, CPU)
        for config in (LEARNER, other)
    )
    assert one is not None
    assert another is not None
    rgb = torch.rand(4, 3, 50, 50, generator=torch.Generator().manual_seed(2))
    target = torch.tensor([[1.0, 0.0]]).expand(4, 2)
    answers = [
        teachers.teach(normalised(rgb, config), target)
        for teachers, config in ((one, LEARNER), (another, other))
    ]
    torch.testing.assert_close(*answers)
    assert answers[0].std(0).min() > 0


def normalised(rgb: Tensor, config: TrainConfig) -> Tensor:
    mean, std = torch.tensor([config.mean, config.std]).view(2, 3, 1, 1)
    return (rgb - mean) / std


def test_a_teacher_of_another_split_is_refused(data: Path, runs: Path, tmp_path: Path):
    """It may have learned from the patients that the learner is tested on."""
    config = replace(LEARNER, data=replace(LEARNER.data, split="none"))
    with pytest.raises(DatasetError, match="its split is By patient"):
        learn(data, runs, config, "unsplit")


def test_a_share_beyond_one_is_refused():
    with pytest.raises(DatasetError, match=r"teach\.share is 1\.5"):
        TeachConfig(share=1.5)


class Watching(nn.Module):
    """Keeps what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[Tensor] = []

    def forward(self, pixels: Tensor) -> Tensor:
        self.shown.append(pixels.clone())
        return torch.zeros(len(pixels), 2)


def shown_to_teachers(config: TrainConfig) -> Tensor:
    """The pixels of one step."""
    teacher = Watching()
    rgb = torch.randint(0, 256, (6, 50, 50, 3), generator=torch.Generator().manual_seed(0))
    label = torch.tensor([0, 1] * 3).numpy()
    run = Run(
        build(config.architecture, 2),
        config,
        label,
        Processes(CPU),
        Teachers([teacher], share=1.0),
    )
    run.step(rgb.to(torch.uint8).numpy(), label, epoch=0, step=0, rate=0.01)
    return teacher.shown[0]


def test_teachers_are_shown_true_colours_in_the_same_places():
    """What a recipe without changes of colour would show them: covered and turned alike."""
    changing = replace(LEARNER, augment=AugmentConfig(white=0.5, warp=1.0))
    plain = replace(changing, augment=replace(changing.augment, colours=0.0))
    true = replace(changing, teach=replace(LEARNER.teach, true_colours=True))

    assert not torch.allclose(shown_to_teachers(changing), shown_to_teachers(plain), atol=0.01)
    torch.testing.assert_close(shown_to_teachers(true), shown_to_teachers(plain))
