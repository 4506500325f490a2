from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models.card import read_card
from models.datasets import TileSet
from models.errors import DatasetError, WeightsError
from models.recipe import TrainConfig
from models.registry import MODELS, build
from models.sampling import draw_epoch
from models.split import read_split
from models.train import TrainProgress, train
from tests.models.labelled import make_tiles, write_packed

SMALL = TrainConfig(
    "small",
    architecture="tiny",
    phases=((3, 32), (1, 48)),
    decay_epochs=1,
    warmup_epochs=0,
    batch_size=16,
    patient_tiles=8,
    learning_rate=0.1,
    ema=0.5,
    validate_every=1,
    mixup=0.2,
    bootstrap_rounds=10,
)


class Stopped(Exception):
    pass


@pytest.fixture(scope="module", autouse=True)
def tiny() -> Iterator[None]:
    """An architecture that any program can register."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "tiny", "tests.models.labelled:build_tiny")
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    split = read_split()
    chosen = [
        patient
        for part, count in (("train", 4), ("validation", 2), ("test", 1))
        for patient in split.patients(part, complete=False)[:count]
    ]
    folder = tmp_path_factory.mktemp("labelled")
    return write_packed(make_tiles(tuple(chosen), per_class=4), folder)


@pytest.fixture(scope="module")
def trained(tiny: None, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(SMALL, data, tmp_path_factory.mktemp("trained"), device="cpu")


def read_weights_beside(card: Path) -> dict[str, torch.Tensor]:
    return load_file(card.with_suffix(".safetensors"))


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_pale_and_dark_tiles_are_told_apart(trained: Path):
    card = read_card(trained)
    assert card.metrics["validation"]["auc"]["value"] > 0.95
    assert card.metrics["validation"]["patients"] == 2
    assert card.weights_file == "small.safetensors"


def test_a_stopped_run_ends_in_the_weights_of_one_that_was_not(
    data: Path, trained: Path, tmp_path: Path
):
    def stop(progress: TrainProgress) -> None:
        if progress.epoch == 2:
            raise Stopped

    with pytest.raises(Stopped):
        train(SMALL, data, tmp_path, device="cpu", on_progress=stop)
    resumed: list[int] = []
    card = train(
        SMALL,
        data,
        tmp_path,
        device="cpu",
        on_progress=lambda progress: resumed.append(progress.epoch),
    )
    assert resumed == [3, 4]
    assert_same(read_weights_beside(card), read_weights_beside(trained))


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


def test_an_epoch_takes_all_of_small_patients_and_a_fresh_draw_of_large_ones():
    large, small = make_tiles(("1",), per_class=50), make_tiles(("2",), per_class=3)
    tiles = TileSet(
        *(
            np.concatenate([getattr(large, name), getattr(small, name)])
            for name in ("rgb", "label", "patient", "xy", "complete")
        )
    )
    config = replace(SMALL, patient_tiles=20)
    first, second = (set(draw_epoch(tiles, config, epoch).tolist()) for epoch in (0, 1))
    assert len(first) == len(second) == 26
    assert set(range(100, 106)) <= first & second
    assert first != second


def test_progress_reads_as_a_line():
    assert str(TrainProgress(3, 9, 0.5, 80.4, None)) == "epoch 3 of 9: loss 0.5000, 80 tiles/s"
    assert str(TrainProgress(4, 9, 0.5, 80.4, 0.91)).endswith("validation AUC 0.9100")
