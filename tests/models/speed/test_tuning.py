"""What was measured on this machine is kept for it, and for nothing else."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.errors import ModelError
from models.infer import load_classifier
from models.registry import resolve_model
from models.speed.tuning import Tuning, find_tuning, keep_tuning
from tests.models.small_models import make_card, write_model

TUNING = Tuning(
    "filtered",
    "float32",
    64,
    threads=2,
    tiles_s=1040.5,
    measured="2026-11-21",
    ranges=((0.0, 1.5), (-2.0, 2.0)),
    loss={"auc": -0.001},
)
CARD = make_card(weights_sha256="ab" * 32)


def test_what_was_kept_is_found(tmp_path: Path) -> None:
    keep_tuning(tmp_path, CARD, "cpu", TUNING)

    assert find_tuning(tmp_path, CARD, "cpu") == TUNING


def test_nothing_is_found_where_nothing_was_kept(tmp_path: Path) -> None:
    assert find_tuning(tmp_path / "missing", CARD, "cpu") is None


def test_a_later_tuning_takes_the_place_of_the_first(tmp_path: Path) -> None:
    keep_tuning(tmp_path, CARD, "cpu", TUNING)
    keep_tuning(tmp_path, CARD, "cpu", Tuning("plain", "float32", 8))

    found = find_tuning(tmp_path, CARD, "cpu")
    assert found is not None
    assert found.form == "plain"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("changed", [{"weights_sha256": "cd" * 32}, {"tile_px": 40}])
def test_other_weights_and_tiles_have_no_tuning(tmp_path: Path, changed: dict[str, object]) -> None:
    keep_tuning(tmp_path, CARD, "cpu", TUNING)

    other = make_card(**({"weights_sha256": "ab" * 32} | changed))
    assert find_tuning(tmp_path, other, "cpu") is None


def test_another_device_has_none(tmp_path: Path) -> None:
    keep_tuning(tmp_path, CARD, "cpu", TUNING)

    assert find_tuning(tmp_path, CARD, "NVIDIA H200") is None


@pytest.mark.parametrize("what", ["torch", "machine"])
def test_a_file_that_was_made_for_something_else_is_not_used(tmp_path: Path, what: str) -> None:
    path = keep_tuning(tmp_path, CARD, "cpu", TUNING)
    record = json.loads(path.read_text())
    record["made_for"][what] = "another"
    path.write_text(json.dumps(record))

    assert find_tuning(tmp_path, CARD, "cpu") is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"schema": 1}', '{"schema": 1, "made_for": {}, "tuning": 3}']
)
def test_a_damaged_file_is_left_aside(tmp_path: Path, text: str) -> None:
    keep_tuning(tmp_path, CARD, "cpu", TUNING).write_text(text)

    assert find_tuning(tmp_path, CARD, "cpu") is None


def test_a_form_of_a_later_program_is_left_aside(tmp_path: Path) -> None:
    path = keep_tuning(tmp_path, CARD, "cpu", TUNING)
    path.write_text(path.read_text().replace('"filtered"', '"quantum"'))

    assert find_tuning(tmp_path, CARD, "cpu") is None


@pytest.mark.parametrize(
    ("form", "batch", "threads"), [("quick", 8, None), ("plain", 0, None), ("plain", 8, 0)]
)
def test_an_impossible_tuning_is_refused(form: str, batch: int, threads: int | None) -> None:
    with pytest.raises(ModelError, match=r"use one of|1 or more"):
        Tuning(form, "float32", batch, threads)


def test_a_classifier_computes_as_its_tuning_says_and_records_it(tmp_path: Path) -> None:
    model = write_model(tmp_path)
    folder = tmp_path / "tuning"
    keep_tuning(folder, resolve_model(model).card, "cpu", TUNING)

    classifier = load_classifier(model, "cpu", tuning=folder)

    assert classifier.device == "cpu, float32, filtered, tuned 2026-11-21"
    assert classifier.batch_size == 64 * torch.get_num_threads()


def test_an_empty_folder_of_tunings_changes_nothing(tmp_path: Path) -> None:
    model = write_model(tmp_path)

    plain = load_classifier(model, "cpu", batch_size=4)
    tuned = load_classifier(model, "cpu", batch_size=4, tuning=tmp_path / "tuning")

    assert tuned.device == plain.device


def test_a_precision_that_was_asked_for_wins_over_the_tuning(tmp_path: Path) -> None:
    model = write_model(tmp_path)

    classifier = load_classifier(model, "cpu", precision="bfloat16", tuning=TUNING)

    assert classifier.device == "cpu, bfloat16"


@pytest.mark.parametrize(("asked", "taken"), [(None, 4), (100, 4), (3, 3)])
def test_a_cpu_takes_no_more_tiles_at_once_than_the_tuning_says(
    tmp_path: Path, asked: int | None, taken: int
) -> None:
    tuning = Tuning("plain", "float32", 4, threads=1)

    classifier = load_classifier(write_model(tmp_path), "cpu", batch_size=asked, tuning=tuning)

    assert classifier.batch_size == taken


INT8 = replace(TUNING, form="int8", batch_size=32)


def test_a_tuning_in_8_bits_lies_beside_the_other_and_is_found_by_name_only(tmp_path: Path) -> None:
    keep_tuning(tmp_path, CARD, "cpu", INT8)

    assert find_tuning(tmp_path, CARD, "cpu") is None
    assert find_tuning(tmp_path, CARD, "cpu", int8=True) == INT8

    keep_tuning(tmp_path, CARD, "cpu", TUNING)

    assert find_tuning(tmp_path, CARD, "cpu") == TUNING
    assert find_tuning(tmp_path, CARD, "cpu", int8=True) == INT8


def test_8_bits_in_the_place_of_another_tuning_are_left_aside(tmp_path: Path) -> None:
    elsewhere = keep_tuning(tmp_path, CARD, "cpu", INT8)
    elsewhere.rename(keep_tuning(tmp_path, CARD, "cpu", TUNING))

    assert find_tuning(tmp_path, CARD, "cpu") is None


def test_8_bits_without_their_ranges_are_refused_with_the_way_to_them(tmp_path: Path) -> None:
    model = write_model(tmp_path)
    keep_tuning(tmp_path / "tuning", resolve_model(model).card, "cpu", TUNING)

    for tuning in (None, TUNING, tmp_path / "tuning"):
        with pytest.raises(ModelError, match="wsi doctor --tune --int8"):
            load_classifier(model, "cpu", precision="int8", tuning=tuning)
