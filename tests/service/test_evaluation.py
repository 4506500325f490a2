"""The command evaluate: complete slides, several models, and the report."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.card import write_card
from models.datasets import load_tiles
from models.painted import painted_card
from service.evaluation import score_patient
from tests.models.labelled import make_tiles, write_packed
from tests.models.pictures import write_bach
from tests.service.test_cli import wsi


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The probability is the mean red: 0.9 of tiles without IDC, 0.47 of those with it."""
    card = replace(painted_card(), classes=("non_idc", "idc"), positive_class="idc")
    write_card(card, tmp_path / "red.json")
    return tmp_path / "red.json"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two patients of eight tiles side by side; the slide of patient 1 is complete."""
    return write_packed(make_tiles(("1", "2"), complete=("1",)), tmp_path / "tiles")


def test_each_tile_of_a_slide_has_its_own_score_and_label(
    data: Path, model: Path, tmp_path: Path
) -> None:
    tiles = load_tiles(data)
    slide = score_patient(tiles, "1", str(model), tmp_path / "work", device="cpu")
    own = tiles.of_patients(["1"])
    assert slide.truth.tolist() == [own.label.tolist()]
    red = own.rgb[..., 0].mean((1, 2)) / 255
    np.testing.assert_allclose(slide.prob[0], red, atol=1e-6)


def test_complete_slides_have_figures_of_their_own(data: Path, model: Path) -> None:
    """The model is wrong throughout: it finds what is not there."""
    done = wsi("evaluate", "--data", data, "-m", model, "--slides", "--json")
    (found,) = json.loads(done.stdout)["slides"]
    (row,) = found["slides"]
    assert (row["patient"], row["labelled"], row["scored"]) == ("1", 8, 8)
    assert (row["auc"], row["dice"], found["froc"]["score"]) == (0.0, 0.0, 0.0)


def test_the_report_is_named_and_there(data: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    done = wsi("evaluate", "--data", data, "-m", model, "-m", model, "--report", out)
    assert done.returncode == 0, done.stderr
    assert f"report: {out / 'evaluation.html'}" in done.stdout
    assert "mean-channel (2) less mean-channel" in done.stdout
    assert (out / "roc.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("layout", ["bach", "sampled"])
def test_slides_that_cannot_be_put_together_are_said_before_anything_is_scored(
    layout: str, model: Path, tmp_path: Path
) -> None:
    data = tmp_path / "set"
    if layout == "bach":
        write_bach(data)
    else:
        write_packed(make_tiles(("1", "2")), data)
    done = wsi("evaluate", "--data", data, "-m", model, "--slides")
    assert done.returncode == 1
    assert "no slide can be put together" in done.stderr


def test_a_model_whose_classes_do_not_fit_is_one_sentence(model: Path, tmp_path: Path) -> None:
    write_bach(tmp_path / "bach")
    done = wsi("evaluate", "--data", tmp_path / "bach", "-m", model)
    assert done.returncode == 1
    assert "knows the classes non_idc, idc" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
