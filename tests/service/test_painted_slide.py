"""A slide goes in, what was painted comes out: cell by cell, at every resolution."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.infer import score_tiles
from models.painted import MeanChannelClassifier, painted_card
from service.pipeline import prepare, run_request
from service.request import HeatmapRequest
from tests.service.painted import paint, write_model, write_slide
from wsi.export import ome_zarr
from wsi.geometry import Box, Mpp
from wsi.heatmap import Heatmap, assemble
from wsi.readers.array import ArraySlide
from wsi.tiler import read_tiles

RATIOS = [1.0, 2.0, 1.5, 16.0, 0.97]  # target um/px over the slide's
TILE_PX = 16


def painted_values(rows: int = 4, columns: int = 6) -> NDArray[np.uint8]:
    """Every tile another value, far from its neighbours'."""
    return ((np.arange(rows * columns) * 89) % 241).astype(np.uint8).reshape(rows, columns)


def heatmap_of(slide: ArraySlide, mpp: float, mask: str = "none") -> Heatmap:
    """The pipeline's arithmetic on a slide in memory."""
    card = painted_card(TILE_PX, mpp)
    prepared = prepare(HeatmapRequest(slide="array", mask=mask), slide, card)
    scored = list(
        score_tiles(MeanChannelClassifier(card), read_tiles(slide, prepared.plan, batch_size=7))
    )
    return assemble(
        prepared.grid,
        prepared.plan.indices,
        np.concatenate([batch.prob for batch in scored]),
        classes=card.classes,
        positive_class="painted",
        threshold=0.5,
    )


@pytest.mark.parametrize("ratio", RATIOS)
def test_heatmap_equals_painted_values_at_every_ratio(ratio: float) -> None:
    values = painted_values()
    stride0 = TILE_PX * ratio
    size = (math.floor(6 * stride0 + 0.5), math.floor(4 * stride0 + 0.5))
    slide = ArraySlide([paint(values, stride0, *size)], Mpp(0.5, 0.5))
    found = heatmap_of(slide, 0.5 * ratio).positive
    assert found.shape == (4, 6)
    np.testing.assert_allclose(found, values / 255, atol=0.51 / 255)


@pytest.mark.parametrize("ratio", [1.0, 2.0, 1.5, 16.0])
def test_coarser_level_gives_the_same_heatmap(ratio: float) -> None:
    """At these ratios no pixel of level 1 straddles two tiles."""
    values = painted_values()
    stride0 = 4 * TILE_PX * ratio  # level 1 is a quarter of level 0
    size = (math.floor(6 * stride0 + 0.5) // 4 * 4, math.floor(4 * stride0 + 0.5) // 4 * 4)
    level0 = paint(values, stride0, *size)
    level1 = level0.reshape(size[1] // 4, 4, size[0] // 4, 4, 3).mean((1, 3)).round()
    slide = ArraySlide([level0, level1.astype(np.uint8)], Mpp(0.25, 0.25))
    found = heatmap_of(slide, ratio).positive
    np.testing.assert_allclose(found, values / 255, atol=1.2 / 255)


def test_bounds_shift_the_grid_and_nothing_else() -> None:
    values = painted_values()
    stride0 = TILE_PX * 1.5
    inner = paint(values, stride0, math.floor(6 * stride0 + 0.5), math.floor(4 * stride0 + 0.5))
    whole = np.full((inner.shape[0] + 90, inner.shape[1] + 120, 3), 255, np.uint8)
    bounds = Box(33, 41, inner.shape[1], inner.shape[0])
    whole[bounds.y : bounds.bottom, bounds.x : bounds.right] = inner
    slide = ArraySlide([whole], Mpp(0.5, 0.5), bounds=bounds)
    heatmap = heatmap_of(slide, 0.75)
    assert heatmap.bounds0 == bounds
    np.testing.assert_allclose(heatmap.positive, values / 255, atol=0.51 / 255)


def test_edge_tiles_are_padded_with_background() -> None:
    """Half of the last column lies off the slide: half its value, half white."""
    values = painted_values(2, 3)
    slide = ArraySlide([paint(values, 16, 40, 32)], Mpp(1, 1))
    found = heatmap_of(slide, 1.0).positive
    np.testing.assert_allclose(found[:, :2], values[:, :2] / 255, atol=1e-6)
    np.testing.assert_allclose(found[:, 2], (values[:, 2] / 255 + 1) / 2, atol=1e-6)


def test_non_square_pixels_are_scored_on_square_fields() -> None:
    values = painted_values(4, 6)
    rgb = np.repeat(paint(values, 16, 96, 64), 2, axis=1)  # twice as many columns: mpp.x is half
    found = heatmap_of(ArraySlide([rgb], Mpp(0.5, 1.0)), 1.0).positive
    np.testing.assert_allclose(found, values / 255, atol=1e-6)


@pytest.mark.parametrize("ratio", RATIOS)
def test_slide_file_to_heatmap_on_disk(tmp_path: Path, ratio: float) -> None:
    values = painted_values()
    stride0 = TILE_PX * ratio
    size = (math.floor(6 * stride0 + 0.5), math.floor(4 * stride0 + 0.5))
    slide = write_slide(tmp_path / "painted.tiff", [paint(values, stride0, *size)], 0.5)
    model = write_model(tmp_path / "model", TILE_PX, 0.5 * ratio)
    request = HeatmapRequest(slide=str(slide), model=model, mask="none")
    result = run_request(request, tmp_path / "out")
    heatmap = ome_zarr.read(result.folder / "heatmap.zarr")
    np.testing.assert_allclose(heatmap.positive, values / 255, atol=0.51 / 255)


def test_scores_that_were_damaged_while_nobody_worked_are_made_again(tmp_path: Path) -> None:
    """A run was killed between scoring and publishing, and the disk lost a part meanwhile."""
    slide = write_slide(tmp_path / "slide.tiff", [paint(painted_values(), 16, 96, 64)], 0.5)
    model = write_model(tmp_path / "model", TILE_PX, 0.5)
    request = HeatmapRequest(slide=str(slide), model=model, mask="none", formats=("csv",))
    result = run_request(request, tmp_path / "out").folder
    table = (result / "tiles.csv").read_bytes()
    partial = result.rename(result.with_name(result.name + ".partial"))
    manifest = json.loads((partial / "manifest.json").read_text())
    (partial / "manifest.json").unlink()
    (partial / ".work").write_text(manifest["work_sha256"])
    shard = next(
        path for path in (partial / "scores.zarr" / "prob" / "c").rglob("*") if path.is_file()
    )
    shard.write_bytes(b"\0" * shard.stat().st_size)
    assert (run_request(request, tmp_path / "out").folder / "tiles.csv").read_bytes() == table
