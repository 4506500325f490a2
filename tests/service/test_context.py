"""The context stage on the way from a slide to a result, and in the commands."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from models.card import read_card, write_card
from models.context import Context, logit_from_prob
from models.painted import painted_card
from models.registry import MODELS
from service.cli.networks import models_app
from service.pipeline import HeatmapResult, run_request
from service.request import HeatmapRequest
from tests.models.labelled import make_tiles, write_packed
from tests.models.small_models import make_card
from tests.models.small_models import write_model as write_network
from tests.service.painted import paint, write_slide
from tests.service.test_cli import wsi
from wsi.export import ome_zarr

STAGE = Context((1.0,), (1,), (0.4, 0.8, 0.3, -0.2), 0.1, 0.5)
VALUES = ((np.arange(24) * 89) % 241).astype(np.uint8).reshape(4, 6)


def write_model(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    write_card(replace(painted_card(16), context=STAGE), folder / "card.json")
    return str(folder)


def run_painted(folder: Path, stride_px: int | None = None, mask: str = "none") -> HeatmapResult:
    slide = write_slide(folder / "slide.tiff", [paint(VALUES, 16, 96, 64)], mpp=4.0)
    request = HeatmapRequest(
        slide=str(slide), model=write_model(folder / "model"), stride_px=stride_px, mask=mask,
        min_tissue=0.9, formats=("ome-zarr", "csv"),
    )  # fmt: skip
    return run_request(request, folder / "out")


def test_a_result_has_what_the_neighbours_say_beside_the_scores_themselves(tmp_path: Path):
    result = run_painted(tmp_path)
    heatmap = ome_zarr.read(result.folder / "heatmap.zarr")
    expected = STAGE.apply(logit_from_prob(VALUES / 255), np.ones((4, 6), bool))

    assert list(heatmap.channels) == ["context"]
    np.testing.assert_allclose(heatmap.channels["context"], expected, atol=1e-5)
    np.testing.assert_allclose(heatmap.positive, VALUES / 255, atol=1e-6)
    header = (result.folder / "tiles.csv").read_text().splitlines()[0]
    assert header.endswith("context")


def test_where_no_tissue_is_nothing_is_said_and_no_neighbour_hears_of_it(tmp_path: Path):
    tissue = np.ones((4, 6), bool)
    tissue[1:3, 2] = tissue[0, 5] = False
    picture = np.repeat(np.repeat(tissue, 16, 0), 16, 1)
    Image.fromarray((picture * 255).astype(np.uint8)).save(tmp_path / "mask.png")

    result = run_painted(tmp_path, mask=str(tmp_path / "mask.png"))

    heatmap = ome_zarr.read(result.folder / "heatmap.zarr")
    expected = STAGE.apply(logit_from_prob(VALUES / 255), tissue)
    np.testing.assert_allclose(heatmap.channels["context"], expected, atol=1e-5)
    assert np.isnan(heatmap.channels["context"][~tissue]).all()


def test_overlapping_tiles_have_the_channel_too(tmp_path: Path):
    result = run_painted(tmp_path, stride_px=8)
    heatmap = ome_zarr.read(result.folder / "heatmap.zarr")
    assert np.isfinite(heatmap.channels["context"]).sum() == np.isfinite(heatmap.positive).sum()


def test_a_stride_without_tiles_side_by_side_is_a_warning(tmp_path: Path):
    result = run_painted(tmp_path, stride_px=12)
    assert list(ome_zarr.read(result.folder / "heatmap.zarr").channels) == []
    (warning,) = [one for one in result.manifest["warnings"] if "context" in one]
    assert "a stride of 12 px does not divide the tile's 16 px" in warning


def test_complete_slides_are_measured_by_their_scores_and_by_their_neighbours(tmp_path: Path):
    """Red 0.9 where there is no IDC, 0.47 where there is: wrong throughout. The stage turns the
    sign of it, so that its figures are right throughout."""
    stage = Context((), (), (-1.0,), 0.0, 0.3)
    card = replace(painted_card(), classes=("non_idc", "idc"), positive_class="idc", context=stage)
    write_card(card, tmp_path / "red.json")
    data = write_packed(make_tiles(("1",), complete=("1",)), tmp_path / "tiles")

    done = wsi(
        "evaluate", "--data", data, "-m", tmp_path / "red.json", "--slides", "--json",
        "--report", tmp_path / "report",
    )  # fmt: skip

    scores, context = json.loads(done.stdout)["slides"]
    assert (scores["model"], context["model"]) == ("mean-channel", "mean-channel, context")
    assert (scores["means"]["auc"], context["means"]["auc"]) == (0.0, 1.0)
    assert (scores["froc"]["score"], context["froc"]["score"]) == (0.0, 1.0)
    assert [one["slides"][0]["threshold"] for one in (scores, context)] == [0.5, 0.3]
    assert "mean-channel, context" in (tmp_path / "report" / "evaluation.html").read_text()


def test_the_command_gives_a_model_its_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(MODELS, "tiny", "tests.models.labelled:build_tiny")
    card = make_card(architecture="tiny", tile_px=50, input_px=50)
    model = write_network(tmp_path / "model", card)
    slides = make_tiles(("14082", "8913"), complete=("14082", "8913"))
    data, out = write_packed(slides, tmp_path / "data"), tmp_path / "out"

    done = CliRunner().invoke(
        models_app, ["context", str(model), "--data", str(data), "-o", str(out), "--json", "-q"]
    )

    assert json.loads(done.stdout) == {"model": str(out / "small.json")}
    assert read_card(out / "small.json").context is not None


@pytest.mark.real_data
def test_the_command_refuses_data_without_complete_slides(real_data: Path, tmp_path: Path):
    done = wsi("models", "context", "--data", real_data / "breakhis", "-o", tmp_path / "out", "-q")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
