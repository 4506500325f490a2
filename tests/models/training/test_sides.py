from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from models.card import read_card, write_card
from models.errors import DatasetError, WeightsError
from models.evaluate import evaluate
from models.registry import build
from models.split import PatientRow, Split, read_split, write_split
from models.train import train
from tests.models.labelled import make_tiles, write_packed
from tests.models.training_runs import COLOUR, write_data

pytestmark = pytest.mark.usefixtures("architectures")

QUICK = replace(COLOUR, phases=((1, 50),), validate_every=9)


@pytest.fixture
def card(data: Path, tmp_path: Path) -> Path:
    return train(QUICK, data, tmp_path / "run", device="cpu")


def listed(part: str, count: int) -> list[str]:
    return read_split().patients(part, complete=False)[:count]


def weights_of(seed: int, path: Path) -> Path:
    torch.manual_seed(seed)
    save_file(build("linear", 1000).state_dict(), path)
    return path


def test_a_card_names_whom_its_model_was_trained_and_validated_on(card: Path):
    told = read_card(card).metrics["training"]
    assert told["trained_on"] == sorted(listed("train", 4))
    assert told["validated_on"] == sorted(listed("validation", 2))


def test_a_run_writes_a_split_in_which_everybody_else_is_for_testing(card: Path):
    split = read_split(card.parent / "split.json")
    assert split.patients("train") == sorted(listed("train", 4))
    assert split.patients("validation") == sorted(listed("validation", 2))
    assert split.part_of("somebody else") == "test"
    assert {row.classes for row in split.rows} == {(4, 4)}


def test_a_model_is_not_tested_on_whom_it_learned_from(card: Path, data: Path, tmp_path: Path):
    rows = [PatientRow(patient, "test", False, 8) for patient in listed("train", 4)]
    wrong = tmp_path / "wrong.json"
    write_split(Split(0, "", "validation", tuple(rows)), wrong)

    with pytest.raises(DatasetError, match=r"4 of the 4 patients in the part 'test'.*split\.json"):
        evaluate(card, data, part="test", split=wrong, device="cpu", rounds=5)

    own = card.parent / "split.json"
    found = evaluate(card, data, part="test", split=own, device="cpu", rounds=5)
    assert found.patients == 1


def test_nor_chosen_by_whom_it_learned_from(card: Path, data: Path, tmp_path: Path):
    rows = [PatientRow(patient, "validation", False, 8) for patient in listed("train", 1)]
    wrong = tmp_path / "wrong.json"
    write_split(Split(0, "", "test", tuple(rows)), wrong)

    with pytest.raises(DatasetError, match="1 of the 1 patients in the part 'validation'"):
        evaluate(card, data, part="validation", split=wrong, device="cpu", rounds=5)


def test_without_a_part_the_evaluation_warns_of_patients_that_the_model_knows(
    card: Path, data: Path
):
    found = evaluate(card, data, device="cpu", rounds=5)
    assert "was trained or chosen with 6 of the 7 patients" in " ".join(found.warnings)


def test_a_card_that_names_nobody_is_tested_as_before(card: Path, data: Path):
    told = read_card(card)
    write_card(replace(told, metrics={}), card)
    assert evaluate(card, data, part="test", device="cpu", rounds=5).patients == 1


@pytest.mark.parametrize("change", ["patients", "labels", "pixels"])
def test_a_run_does_not_go_on_with_other_tiles(card: Path, data: Path, tmp_path: Path, change: str):
    patients = (*listed("train", 4), *listed("validation", 2), *listed("test", 1))
    if change == "patients":
        patients = (*listed("train", 5)[1:], *patients[4:])
    tiles = make_tiles(patients)
    if change == "labels":
        tiles = replace(tiles, label=1 - tiles.label)
    elif change == "pixels":
        tiles = replace(tiles, rgb=tiles.rgb ^ np.uint8(1))
    other = write_packed(tiles, tmp_path / "other")
    before = card.read_bytes()

    with pytest.raises(WeightsError, match="it learned from other tiles"):
        train(QUICK, other, card.parent, device="cpu")
    assert card.read_bytes() == before


def test_moved_data_are_the_same_data(card: Path, data: Path, tmp_path: Path):
    moved = write_data(tmp_path / "moved")
    assert train(QUICK, moved, card.parent, device="cpu") == card


def test_a_run_from_random_weights_does_not_go_on_from_others(
    card: Path, data: Path, tmp_path: Path
):
    weights = weights_of(1, tmp_path / "given.safetensors")
    with pytest.raises(WeightsError, match="Random weights"):
        train(QUICK, data, card.parent, device="cpu", weights=weights)


def test_nor_one_from_weights_with_others_of_the_same_name(data: Path, tmp_path: Path):
    weights = weights_of(1, tmp_path / "given.safetensors")
    train(QUICK, data, tmp_path / "run", device="cpu", weights=weights)
    weights_of(2, weights)
    with pytest.raises(WeightsError, match="it did not start from"):
        train(QUICK, data, tmp_path / "run", device="cpu", weights=weights)


def test_imagenet_weights_that_come_later_are_not_what_a_run_started_from(
    data: Path, tmp_path: Path
):
    config = replace(QUICK, start="imagenet", without_imagenet="random")
    folder = tmp_path / "imagenet"
    card = train(config, data, tmp_path / "run", device="cpu", imagenet=folder)
    folder.mkdir()
    weights_of(1, folder / "linear.safetensors")

    train(config, data, tmp_path / "run", device="cpu", imagenet=folder)

    told = read_card(card)
    assert told.metrics["training"]["start"] == "Random weights."
    assert "No comparison" in " ".join(told.limits)
