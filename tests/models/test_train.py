import csv
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.card import read_card
from models.errors import DatasetError, ModelError, WeightsError
from models.recipe import FewShotConfig, TrainConfig
from models.registry import build
from models.train import TrainProgress, train
from tests.conftest import REPOSITORY
from tests.models.labelled import make_tiles, write_packed
from tests.models.training_runs import (
    SMALL,
    STALLED,
    STILL,
    assert_same,
    read_weights_beside,
)
from wsi.errors import InvalidOption

pytestmark = pytest.mark.usefixtures("architectures")


class Stopped(Exception):
    pass


@pytest.fixture(scope="module")
def trained(architectures: None, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(SMALL, data, tmp_path_factory.mktemp("trained"), device="cpu")


def test_pale_and_dark_tiles_are_told_apart(trained: Path):
    card = read_card(trained)
    assert card.metrics["validation"]["auc"]["value"] > 0.95
    assert card.metrics["validation"]["patients"] == 2
    assert card.weights_file == "small.safetensors"


THOROUGH = replace(
    SMALL,
    phases=((4, 32),),
    optimizer="adamw",
    learning_rate=0.01,
    loss="weighted",
    sampler="all",
    schedule="plateau",
    patience=1,
    stop_after=3,
    keep="best",
    clip=0.1,
)


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        replace(THOROUGH, precision="float16"),
        replace(
            THOROUGH,
            precision="bfloat16",
            loss="focal",
            sampler="balanced",
            schedule="one-cycle",
        ),
        replace(SMALL, few_shot=FewShotConfig(shots=2, queries=2, episodes=3), augment=STILL),
        replace(SMALL, architecture="dropping"),
    ],
    ids=["sgd", "adamw-float16", "adamw-bfloat16", "episodes", "dropout"],
)
def test_a_stopped_run_ends_in_the_weights_of_one_that_was_not(
    config: TrainConfig, data: Path, tmp_path: Path
):
    def stop(progress: TrainProgress) -> None:
        if progress.epoch == 2:
            raise Stopped

    with pytest.raises(Stopped):
        train(config, data, tmp_path, device="cpu", on_progress=stop)
    resumed: list[int] = []
    card = train(
        config,
        data,
        tmp_path,
        device="cpu",
        on_progress=lambda progress: resumed.append(progress.epoch),
    )
    whole = train(config, data, tmp_path / "whole", device="cpu")
    assert resumed == [3, 4]
    assert_same(read_weights_beside(card), read_weights_beside(whole))
    assert read_log(tmp_path)["loss"] == read_log(tmp_path / "whole")["loss"]


def read_log(folder: Path) -> dict[str, list[str]]:
    with (folder / "log.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    return {name: [row[name] for row in rows] for name in rows[0]}


@pytest.mark.slow
def test_a_killed_run_ends_in_the_weights_of_one_that_was_not(
    data: Path, trained: Path, tmp_path: Path
):
    """The process dies in the middle of an epoch, by a signal that it cannot see."""
    program = (
        "from pathlib import Path; from models.registry import MODELS; from models.train import "
        "train; from tests.models.training_runs import SMALL; "
        "MODELS['tiny'] = 'tests.models.training_runs:build_stalling'; "
        f"train(SMALL, Path({str(data)!r}), Path({str(tmp_path)!r}), device='cpu')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline().strip() == STALLED
        child.kill()
    assert child.returncode == -signal.SIGKILL
    assert not list(tmp_path.glob("*.json"))

    resumed: list[int] = []
    card = train(
        SMALL, data, tmp_path, device="cpu", on_progress=lambda now: resumed.append(now.epoch)
    )

    assert resumed == [3, 4]
    assert_same(read_weights_beside(card), read_weights_beside(trained))


def test_a_recipe_that_freezes_all_that_learns_is_refused(data: Path, tmp_path: Path):
    few_shot = FewShotConfig(shots=2, queries=2)
    config = replace(SMALL, few_shot=few_shot, freeze="backbone", augment=STILL)

    with pytest.raises(DatasetError, match="leaves nothing to learn"):
        train(config, data, tmp_path, device="cpu")


def test_training_stops_where_nothing_gets_better(data: Path, tmp_path: Path):
    config = replace(
        SMALL, architecture="linear", phases=((9, 50),), learning_rate=0.0, stop_after=2, ema=0.0
    )
    seen: list[int] = []
    card = train(
        config, data, tmp_path, device="cpu", on_progress=lambda now: seen.append(now.epoch)
    )

    assert seen == [1, 2, 3]
    assert read_card(card).metrics["training"]["epochs"] == 3
    again: list[int] = []
    train(config, data, tmp_path, device="cpu", on_progress=lambda now: again.append(now.epoch))
    assert again == []


def test_the_best_weights_are_kept_where_the_recipe_says_so(data: Path, tmp_path: Path):
    """A rate that ruins what it learned: 0.1 for an epoch, then far too much."""
    config = replace(
        SMALL, architecture="linear", phases=((6, 50),), schedule="one-cycle", ema=0.0, mixup=0.0,
        learning_rate=200.0, augment=STILL,
    )  # fmt: skip
    kept = {}
    for keep, where in (("best", "best"), ("last", "average")):
        card = train(replace(config, keep=keep), data, tmp_path / keep, device="cpu")
        state = load_file(tmp_path / keep / "state.safetensors")
        kept[keep] = read_weights_beside(card)["2.weight"]
        assert torch.equal(kept[keep], state[f"{where}.2.weight"].half())
    assert not torch.equal(kept["best"], kept["last"])


def test_a_full_disk_leaves_the_last_good_state_and_training_goes_on_from_it(
    data: Path, trained: Path, tmp_path: Path
):
    def fill(progress: TrainProgress) -> None:
        if progress.epoch == 2:  # as a full disk would: no file may grow beyond 1 kB
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(ModelError, match=r"state\.safetensors.*cannot be written.*make room"):
            train(SMALL, data, tmp_path, device="cpu", on_progress=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.glob("*.partial"))

    card = train(SMALL, data, tmp_path, device="cpu")

    assert_same(read_weights_beside(card), read_weights_beside(trained))


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_last_state(data: Path, tmp_path: Path):
    config = replace(SMALL, architecture="linear", learning_rate=1e3, weight_decay=1.0, mixup=0.0)
    config = replace(config, phases=((200, 50),), validate_every=1000, decay_epochs=0)

    with pytest.raises(ModelError, match="use a smaller learning_rate"):
        train(config, data, tmp_path, device="cpu")

    assert (tmp_path / "state.safetensors").is_file()


def test_the_log_has_a_line_for_each_epoch(trained: Path):
    log = read_log(trained.parent)

    assert log["epoch"] == ["1", "2", "3", "4"]
    assert float(log["rate"][0]) == pytest.approx(0.1)
    assert all(0 <= float(auc) <= 1 for auc in log["auc"])


def test_the_card_tells_how_it_was_trained(trained: Path):
    told = read_card(trained).metrics["training"]

    assert (told["epochs"], told["tiles"], told["patients"]) == (4, 32, 4)
    assert told["parameters"] == 8 * 3 * 25 + 8 + 16 + 16 + 2
    assert told["start"] == "Random weights."
    assert told["precision"] in ("float32", "bfloat16")


def test_another_seed_ends_in_other_weights(data: Path, trained: Path, tmp_path: Path):
    card = train(replace(SMALL, seed=1), data, tmp_path, device="cpu")
    with pytest.raises(AssertionError):
        assert_same(read_weights_beside(card), read_weights_beside(trained))


def test_a_folder_with_a_run_of_another_recipe_is_refused(data: Path, trained: Path):
    with pytest.raises(WeightsError, match="another recipe"):
        train(replace(SMALL, seed=1), data, trained.parent, device="cpu")


def test_given_weights_are_where_training_starts(data: Path, tmp_path: Path):
    torch.manual_seed(3)
    given = build("tiny", 1000).state_dict()
    save_file(given, tmp_path / "imagenet.safetensors")
    still = replace(
        SMALL, phases=((1, 32),), learning_rate=0.0, ema=0.0, weight_decay=0.0, validate_every=9
    )
    card = train(
        still, data, tmp_path / "out", device="cpu", weights=tmp_path / "imagenet.safetensors"
    )
    kept = read_weights_beside(card)
    assert torch.equal(kept["0.0.weight"], given["0.0.weight"].half())
    assert kept["2.weight"].shape == (2, 8)


def test_one_patient_is_refused(tmp_path: Path):
    write_packed(make_tiles(("10255",)), tmp_path)
    with pytest.raises(DatasetError, match="at least two patients"):
        train(SMALL, tmp_path, tmp_path / "out", device="cpu")


def test_data_without_validation_patients_are_refused(tmp_path: Path):
    write_packed(make_tiles(("10255", "10256")), tmp_path)
    with pytest.raises(DatasetError, match="0 validation tiles"):
        train(SMALL, tmp_path, tmp_path / "out", device="cpu")


def test_progress_reads_as_a_line():
    assert str(TrainProgress(3, 9, 0.5, 80.4, None)) == "epoch 3 of 9: loss 0.5000, 80 tiles/s"
    assert str(TrainProgress(4, 9, 0.5, 80.4, 0.91)).endswith("validation AUC 0.9100")


def test_where_nothing_can_be_written_is_known_before_a_tile_is_read(tmp_path: Path):
    (tmp_path / "file").write_text("")

    for out in (tmp_path / "file" / "small", tmp_path / ("n" * 300)):
        with pytest.raises(InvalidOption, match=r"use (another|a shorter) --out"):
            train(SMALL, tmp_path / "no data", out, device="cpu")
