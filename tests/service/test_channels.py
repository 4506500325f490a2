"""Raw probabilities and uncertainty on their way from a slide to a result, and back out of it."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.card import write_card
from models.painted import painted_card
from service.errors import Stopped
from service.exports import export_result, load_source
from service.pipeline import HeatmapResult, run_request
from service.progress import Silent
from service.request import HeatmapRequest
from service.results import object_hashes
from tests.service.painted import paint, write_slide
from wsi.errors import ResultExists
from wsi.export import ome_zarr

VALUES = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)


def make_model(folder: Path, temperature: float = 0.5, classes: tuple[str, ...] = ()) -> str:
    folder.mkdir(parents=True)
    card = replace(painted_card(16, 0.5), temperature=temperature)
    card = replace(card, classes=classes or card.classes)
    write_card(card, folder / "card.json")
    return str(folder)


def make_request(tmp_path: Path, rows: int = 4, **options: object) -> HeatmapRequest:
    values = np.tile(VALUES, (-(-rows // 4), 1))[:rows]
    slide = write_slide(tmp_path / "painted.tiff", [paint(values, 16, 96, 16 * rows)], 0.5)
    fields = {"slide": str(slide), "model": str(tmp_path / "model"), "mask": "none", **options}
    return HeatmapRequest(**fields)  # type: ignore[arg-type]


def run(tmp_path: Path, **options: object) -> HeatmapResult:
    make_model(tmp_path / "model")
    return run_request(make_request(tmp_path, **options), tmp_path / "out")


def test_a_calibrated_model_shows_raw_and_calibrated_side_by_side(tmp_path: Path) -> None:
    heatmap = ome_zarr.read(run(tmp_path).folder / "heatmap.zarr")
    assert list(heatmap.channels) == ["raw"]
    raw = VALUES / 255
    np.testing.assert_allclose(heatmap.channels["raw"], raw, atol=0.51 / 255)
    odds = (heatmap.channels["raw"] / (1 - heatmap.channels["raw"])) ** 2
    np.testing.assert_allclose(heatmap.positive, odds / (1 + odds), atol=1e-5)


def test_tta_adds_how_far_the_symmetries_disagree(tmp_path: Path) -> None:
    result = run(tmp_path, tta=True)
    heatmap = ome_zarr.read(result.folder / "heatmap.zarr")
    assert list(heatmap.channels) == ["raw", "uncertainty"]
    assert heatmap.channels["uncertainty"].max() < 1e-6  # a mean is the same from all sides
    uncertain = result.manifest["summary"]["uncertain"]
    assert (uncertain["above"], uncertain["tissue_fraction"]) == (0.05, 0.0)
    assert "Uncertain tissue" in (result.folder / "report.html").read_text()


def test_four_classes_have_one_raw_channel_of_the_positive_one(tmp_path: Path) -> None:
    make_model(tmp_path / "model", 2.0, ("a", "b", "c", "painted"))
    result = run_request(make_request(tmp_path, tta=True), tmp_path / "out")
    heatmap = ome_zarr.read(result.folder / "heatmap.zarr")
    assert heatmap.values.shape == (4, 4, 6)
    np.testing.assert_allclose(heatmap.channels["raw"], VALUES / 255, atol=0.51 / 255)
    np.testing.assert_allclose(heatmap.values.sum(0), 1, atol=1e-6)


def test_a_result_with_tta_is_another_one(tmp_path: Path) -> None:
    first = run(tmp_path)
    with pytest.raises(ResultExists, match="a different result is there"):
        run_request(make_request(tmp_path, tta=True), tmp_path / "out")
    assert run_request(make_request(tmp_path), tmp_path / "out").kept
    assert first.manifest["parameters"]["tta"] is False


class StopsSoon(Silent):
    """Wants to stop once the first shard may be on disk."""

    asked = 0

    def should_stop(self) -> bool:
        self.asked += 1
        return self.asked > 10


def test_a_stopped_run_with_channels_goes_on_and_ends_in_the_same(tmp_path: Path) -> None:
    make_model(tmp_path / "model")
    request = make_request(tmp_path, rows=400, tta=True, batch_size=128)  # 2400 tiles, 3 shards
    with pytest.raises(Stopped):
        run_request(request, tmp_path / "out", progress=StopsSoon())
    assert (tmp_path / "out" / "painted.tiff.partial").is_dir()
    resumed = run_request(request, tmp_path / "out")
    undisturbed = run_request(request, tmp_path / "other")
    assert resumed.manifest == undisturbed.manifest


def test_formats_that_are_made_later_have_the_channels_too(tmp_path: Path) -> None:
    folder = run(tmp_path, tta=True).folder
    export_result(folder, ("csv",), tmp_path / "later")
    later = (tmp_path / "later" / "tiles.csv").read_bytes()
    assert later == (folder / "tiles.csv").read_bytes()
    with (folder / "tiles.csv").open(newline="") as file:
        assert next(csv.reader(file))[4:] == ["prob_rest", "prob_painted", "raw", "uncertainty"]


def test_a_result_of_before_there_were_channels_still_opens(tmp_path: Path) -> None:
    make_model(tmp_path / "model", temperature=1.0)
    folder = run_request(make_request(tmp_path), tmp_path / "out").folder
    for store in ("scores.zarr", "heatmap.zarr"):
        metadata = json.loads((folder / store / "zarr.json").read_text())
        assert metadata["attributes"]["wsi"].pop("channels") == []
        (folder / store / "zarr.json").write_text(json.dumps(metadata))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["outputs"] = object_hashes(folder)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    source = load_source(folder)
    assert (source.channels, source.heatmap.channels) == ({}, {})
