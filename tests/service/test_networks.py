"""The commands about models: import, train, evaluate."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from models.registry import MODELS
from models.split import read_split
from tests.models.labelled import make_tiles, write_published
from tests.service.painted import write_model
from tests.service.test_cli import wsi

RECIPE = """
name = "small"
architecture = "tiny"
phases = [[2, 32]]
decay_epochs = 1
warmup_epochs = 0
batch_size = 16
patient_tiles = 8
validate_every = 1
bootstrap_rounds = 10
"""


@pytest.fixture
def tiny() -> Iterator[None]:
    """An architecture that any program can register."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "tiny", "tests.models.labelled:build_tiny")
        yield


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Eight tiles of each of seven patients of the split, as the data set is published."""
    split = read_split()
    chosen = [
        patient
        for part, count in (("train", 4), ("validation", 2), ("test", 1))
        for patient in split.patients(part, complete=False)[:count]
    ]
    return write_published(make_tiles(tuple(chosen)), tmp_path / "tiles")


def test_evaluation_is_a_table_or_json(data: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", 50, 4.0)
    command = ("evaluate", "--data", data, "-m", model, "--part", "test", "--device", "cpu")
    facts = json.loads(wsi(*command, "--json").stdout)
    assert (facts["tiles"], facts["patients"], facts["part"]) == (8, 1, "test")
    assert {"accuracy", "balanced_accuracy", "f1", "auc", "average_precision", "ece"} <= set(
        facts["metrics"]
    )
    assert sum(map(sum, facts["confusion"])) == 8
    table = wsi(*command).stdout
    assert "8 tiles of 1 patients" in table
    assert "95 % interval" in table


def test_training_writes_a_model_that_can_be_evaluated(
    tiny: None, data: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "small.toml"
    recipe.write_text(RECIPE)
    done = wsi("train", recipe, "--data", data, "-o", tmp_path / "runs", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "epoch 2 of 2" in done.stdout
    card = tmp_path / "runs" / "small" / "small.json"
    assert f"model: {card}" in done.stdout
    evaluated = wsi("evaluate", "--data", data, "-m", card, "--device", "cpu", "--json")
    assert json.loads(evaluated.stdout)["tiles"] == 56
    again = wsi("train", recipe, "--data", data, "-o", tmp_path / "runs", "--json")
    assert json.loads(again.stdout) == {"model": str(card)}


def test_a_recipe_is_tried_in_seconds_with_values_of_one_s_own(
    tiny: None, data: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "small.toml"
    recipe.write_text(RECIPE)
    command = ("train", recipe, "--data", data, "-o", tmp_path / "runs", "--device", "cpu")
    done = wsi(*command, "--smoke", "--set", "loss=focal", "--set", "augment.warp=0")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "small-smoke" / "small-smoke.json").is_file()
    assert "epoch 2 of 2" in done.stdout
    refused = wsi(*command, "--set", "loss=hinge")
    assert refused.returncode == 1
    assert "loss is 'hinge'; use cross-entropy" in refused.stderr


def test_part_that_is_none_is_refused(data: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", 50, 4.0)
    done = wsi("evaluate", "--data", data, "-m", model, "--part", "exam")
    assert done.returncode == 1
    assert "train, validation, test" in done.stderr


def test_imported_weights_are_the_state_dict(tmp_path: Path) -> None:
    torch.save({"layer.weight": torch.arange(6.0)}, tmp_path / "net.pth")
    done = wsi("models", "import", tmp_path / "net.pth", "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert len(facts["sha256"]) == 64
    assert torch.equal(load_file(facts["weights"])["layer.weight"], torch.arange(6.0))
