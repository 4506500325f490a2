from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from models.card import read_card
from models.errors import UnknownModel, WeightsError
from models.imagenet import find_imagenet
from models.recipe import PretrainConfig, TrainConfig
from models.registry import MODELS, build
from models.train import train
from models.training.parallel import Processes
from models.training.pretrain import OnEpoch, SimSiam, pretrain
from models.training.start import start_network
from tests.models.labelled import make_tiles
from tests.models.training_runs import SMALL, register, write_data

ALONE = Processes(torch.device("cpu"))
PLAN = replace(
    SMALL,
    start="imagenet",
    without_imagenet="pretrain",
    pretrain=PretrainConfig(epochs=3, crop_px=40, batch_size=16, learning_rate=0.5),
)


class Stopped(Exception):
    pass


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tiny", "linear", "dropping"):
        monkeypatch.setitem(MODELS, name, "")
    register()


def ignore(epoch: int, epochs: int, loss: float) -> None:
    pass


def run(config: TrainConfig, folder: Path, on_epoch: OnEpoch = ignore) -> Path:
    return pretrain(config, make_tiles(), folder, ALONE, on_epoch)


def test_views_of_a_tile_agree_more_with_every_epoch(tmp_path: Path):
    losses: list[float] = []
    plan = replace(PLAN, pretrain=replace(PLAN.pretrain, epochs=8))

    run(plan, tmp_path, lambda epoch, epochs, loss: losses.append(loss))

    assert losses[-1] < losses[0] - 0.1
    assert min(losses) >= -1


def test_nothing_drops_out_where_two_views_are_compared():
    torch.manual_seed(0)
    network = SimSiam(build("dropping", 2), 50).train()
    views = [torch.rand(4, 3, 50, 50) for _ in range(2)]
    assert torch.equal(network(*views), network(*views))


def test_the_loss_is_least_where_both_views_are_the_same_for_the_predictor():
    torch.manual_seed(0)
    network = SimSiam(build("tiny", 2), 50)
    network.predictor = torch.nn.Identity()
    tiles = torch.randn(8, 3, 50, 50)

    assert network(tiles, tiles).item() == pytest.approx(-1, abs=1e-6)


def test_views_differ_by_the_tiles_alone_and_not_by_what_drops_out() -> None:
    torch.manual_seed(0)
    network = SimSiam(build("vgg16", 2), 32).train()
    tiles = torch.randn(2, 3, 32, 32)
    assert torch.equal(network.encoder(tiles), network.encoder(tiles))


def test_a_network_without_norms_comes_back_without_them(tmp_path: Path) -> None:
    few = replace(PLAN.pretrain, epochs=1, batch_size=4)
    plan = replace(PLAN, architecture="vgg16", patient_tiles=1, pretrain=few)
    names = set(load_file(run(plan, tmp_path)))
    assert names == {name for name in build("vgg16", 2).state_dict() if "classifier.3" not in name}


def test_a_stopped_pretraining_ends_in_the_weights_of_one_that_was_not(tmp_path: Path):
    def stop(epoch: int, epochs: int, loss: float) -> None:
        if epoch == 2:
            raise Stopped

    with pytest.raises(Stopped):
        run(PLAN, tmp_path, stop)
    seen: list[int] = []
    path = run(PLAN, tmp_path, lambda epoch, epochs, loss: seen.append(epoch))
    whole = load_file(run(PLAN, tmp_path / "whole"))

    assert seen == [3]
    assert all(torch.equal(value, whole[name]) for name, value in load_file(path).items())
    assert [file.name for file in tmp_path.glob("*.safetensors")] == [path.name]


def test_recipes_that_differ_in_what_comes_after_share_it(tmp_path: Path):
    first = run(PLAN, tmp_path)
    seen: list[int] = []
    later = replace(PLAN, name="other", loss="focal", learning_rate=0.5, phases=((1, 50),))

    assert run(later, tmp_path, lambda epoch, epochs, loss: seen.append(epoch)) == first
    assert seen == []
    assert run(replace(PLAN, seed=1), tmp_path) != first


def test_training_starts_from_it_and_the_card_says_so(tmp_path: Path):
    stages: list[str] = []
    still = replace(PLAN, phases=((1, 32),), learning_rate=0.0, ema=0.0)
    card = train(
        still,
        write_data(tmp_path / "data"),
        tmp_path / "out",
        device="cpu",
        imagenet=tmp_path,
        on_progress=lambda now: stages.append(now.stage),
    )

    (made,) = (tmp_path / "out" / "decoded").glob("pretrained-*.safetensors")
    kernel = load_file(made)["0.0.weight"]
    assert torch.equal(load_file(card.with_suffix(".safetensors"))["0.0.weight"], kernel.half())
    assert stages == ["pretraining"] * 3 + ["epochs"]
    told = read_card(card)
    assert "SimSiam, 3 epochs" in told.metrics["training"]["start"]
    assert "No comparison with their figures" in told.limits[-1]


def test_without_a_way_out_missing_imagenet_weights_name_the_file_and_its_place(tmp_path: Path):
    config = replace(SMALL, architecture="resnet18", start="imagenet")

    with pytest.raises(WeightsError, match=r"resnet18-f37072fd\.pth.*wsi models import") as told:
        train(config, write_data(tmp_path / "data"), tmp_path, device="cpu", imagenet=tmp_path)

    assert str(tmp_path / "resnet18.safetensors") in str(told.value)


def test_a_network_without_published_weights_says_so(tmp_path: Path):
    with pytest.raises(UnknownModel, match="torchvision has no ImageNet weights of 'resnet50v2'"):
        find_imagenet("resnet50v2", tmp_path)


def test_random_weights_in_place_of_imagenet_s_are_told_in_the_card(tmp_path: Path):
    config = replace(PLAN, without_imagenet="random", phases=((1, 32),))
    card = train(
        config, write_data(tmp_path / "data"), tmp_path / "out", device="cpu", imagenet=tmp_path
    )

    assert "this model started from random weights" in read_card(card).limits[-1]


@pytest.mark.parametrize(("rank", "times"), [(0, 1), (1, 0)])
def test_of_several_processes_the_first_one_warns(
    rank: int, times: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    config = replace(PLAN, without_imagenet="random")
    process = Processes(torch.device("cpu"), rank, 2)

    start_network(config, make_tiles(), tmp_path, process, imagenet=tmp_path)

    assert caplog.text.count("recipe small starts from random weights") == times


def test_a_pickle_to_start_from_names_the_command_that_converts_it(tmp_path: Path):
    with pytest.raises(WeightsError, match=r"wsi models import a\.pth"):
        train(
            SMALL,
            write_data(tmp_path / "data"),
            tmp_path / "out",
            device="cpu",
            weights=Path("a.pth"),
        )
