"""Regions and summaries, on maps small enough to count by hand, and against rasterised outlines."""

import json

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from scipy import ndimage

from wsi.geometry import Box, Mpp, Scale, Size
from wsi.heatmap import Heatmap
from wsi.mask import TissueMask
from wsi.regions import measure_regions, regions, summarise


def make_heatmap(
    positive: NDArray[np.floating] | list[list[float]],
    *,
    cell0: float = 100.0,
    origin0: tuple[int, int] = (0, 0),
    extent0: tuple[int, int] | None = None,
    mpp: float = 1.0,
) -> Heatmap:
    values = np.asarray(positive, np.float32)[None]
    rows, columns = values.shape[1:]
    width, height = extent0 or (int(columns * cell0), int(rows * cell0))
    bounds0 = Box(*origin0, width, height)
    return Heatmap(
        values=values,
        classes=("idc",),
        positive_class="idc",
        threshold=0.5,
        size0=Size(bounds0.right, bounds0.bottom),
        slide_mpp=Mpp(mpp, mpp),
        bounds0=bounds0,
        cell0=Scale(cell0, cell0),
    )


def make_mask(heatmap: Heatmap, tissue: NDArray[np.bool_] | None = None) -> TissueMask:
    """Of 10 level-0 px; tissue everywhere by default."""
    width, height = heatmap.size0
    if tissue is None:
        tissue = np.ones((-(-height // 10), -(-width // 10)), bool)
    return TissueMask(tissue, heatmap.slide_mpp.x * 10, Scale(10, 10), "test")


def rings(shape: shapely.Geometry) -> list[int]:
    """Holes of each part of a region."""
    return [len(part.interiors) for part in shapely.get_parts(shape)]


def test_a_region_is_the_rectangle_of_its_cells() -> None:
    heatmap = make_heatmap([[0.1, 0.6, 0.9], [np.nan, 0.2, 0.1]], origin0=(7, 30))
    (region,) = regions(heatmap)
    assert region.polygon.equals(shapely.box(107, 30, 307, 130))
    assert region.stats.cells == 2
    assert region.stats.area_mm2 == pytest.approx(0.02)
    assert region.stats.mean_prob == pytest.approx(0.75)
    assert region.stats.max_prob == pytest.approx(0.9)
    assert region.stats.peak0 == (257, 80)
    assert region.stats.centroid0 == (207, 80)
    assert region.stats.box0 == Box(107, 30, 200, 100)


def test_outer_rings_run_against_the_clock_when_y_points_up() -> None:
    """As RFC 7946 asks of GeoJSON; holes run the other way."""
    heatmap = make_heatmap(np.pad(np.zeros((1, 1)), 1, constant_values=1))
    (region,) = regions(heatmap)
    assert region.polygon.exterior.is_ccw
    assert not region.polygon.interiors[0].is_ccw


def test_cells_that_touch_by_a_corner_are_one_region_of_two_parts() -> None:
    for cells in ([[1, 0], [0, 1]], [[0, 1], [1, 0]]):
        (region,) = regions(make_heatmap(cells))
        assert region.polygon.geom_type == "MultiPolygon"
        assert region.polygon.is_valid
        assert region.polygon.area == 20_000


@pytest.mark.parametrize(
    ("cells", "holes"),
    [
        (["###", "#.#", "###"], 1),
        (["####", "#.##", "##.#", "####"], 2),  # two holes that touch
        (["###", "#.#", "##."], 1),  # a hole that touches the outside
        (["#####", "#...#", "#.#.#", "#...#", "#####"], 1),  # an island apart
        (["####", "#..#", "#.##", "####"], 1),
    ],
    ids=["ring", "touching holes", "open corner", "island", "bent hole"],
)
def test_holes_are_holes(cells: list[str], holes: int) -> None:
    found = regions(make_heatmap([[float(c == "#") for c in row] for row in cells]))
    outer = found[0].polygon
    assert outer.is_valid
    assert rings(outer) == [holes]
    assert sum(r.polygon.area for r in found) == 10_000 * sum(row.count("#") for row in cells)


@given(
    above=arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)),
    cell0=st.sampled_from([1.0, 10.3, 100.0, 0.7]),
)
def test_outlines_hold_exactly_the_cells_above_the_threshold(
    above: NDArray[np.bool_], cell0: float
) -> None:
    heatmap = make_heatmap(
        above.astype(float),
        cell0=cell0,
        origin0=(3, 5),
        extent0=(
            max(1, int(above.shape[1] * cell0 - 0.3)),
            max(1, int(above.shape[0] * cell0 - 0.3)),
        ),
    )
    x, y = heatmap.edges_x0, heatmap.edges_y0
    if not (np.diff(x) > 0).all() or not (np.diff(y) > 0).all():
        return  # the extent does not need the last cells
    found = regions(heatmap)
    assert all(region.polygon.is_valid for region in found)
    assert len(found) == ndimage.label(above, np.ones((3, 3)))[1]
    middle = np.meshgrid((x[1:] + x[:-1]) / 2, (y[1:] + y[:-1]) / 2)
    times = sum(
        (shapely.contains_xy(r.polygon, *middle) for r in found), np.zeros(above.shape, int)
    )
    assert np.array_equal(times, above)
    for region in found:
        assert region.polygon.area / 1e6 == pytest.approx(region.stats.area_mm2)
        center = region.polygon.centroid
        assert region.stats.centroid0 == pytest.approx((center.x, center.y))


def test_regions_come_largest_first_with_the_figures_of_their_own_cells() -> None:
    rng = np.random.default_rng(0)
    heatmap = make_heatmap(ndimage.gaussian_filter(rng.random((60, 80)), 2) * 8 - 3.5, cell0=50.5)
    found = regions(heatmap)
    assert [r.stats for r in found] == measure_regions(heatmap)
    areas = [r.stats.area_mm2 for r in found]
    assert areas == sorted(areas, reverse=True)
    x, y = heatmap.edges_x0, heatmap.edges_y0
    middle = np.meshgrid((x[1:] + x[:-1]) / 2, (y[1:] + y[:-1]) / 2)
    for region in found:
        inside = heatmap.positive[shapely.contains_xy(region.polygon, *middle)]
        assert len(inside) == region.stats.cells
        assert region.stats.max_prob == inside.max()
        assert region.stats.mean_prob == pytest.approx(inside.mean(dtype=float), abs=0.01)
        assert shapely.contains_xy(region.polygon, *region.stats.peak0)


def test_the_last_cells_are_cut_at_the_edge_of_the_bounds() -> None:
    heatmap = make_heatmap([[1.0, 1.0]], origin0=(10, 20), extent0=(150, 60))
    (region,) = regions(heatmap)
    assert region.polygon.equals(shapely.box(10, 20, 160, 80))
    assert region.stats.area_mm2 == pytest.approx(150 * 60 / 1e6)


def test_a_value_at_the_threshold_is_above_it_and_nan_never_is() -> None:
    heatmap = make_heatmap([[0.5, np.nan, np.nextafter(np.float32(0.5), np.float32(0))]])
    assert [r.stats.cells for r in regions(heatmap)] == [1]
    assert regions(heatmap, 0.6) == []
    assert len(regions(heatmap, 0.0)) == 2


def test_the_summary_counts_tissue_not_cells() -> None:
    heatmap = make_heatmap([[0.9, 0.1], [np.nan, 0.6]])
    tissue = np.ones((20, 20), bool)
    tissue[:10, :5] = False  # half of the cell at 0.9
    summary = summarise(heatmap, make_mask(heatmap, tissue))
    assert summary["outcome"] == "scored"
    assert summary["tissue_mm2"] == pytest.approx(0.035)
    assert summary["scored_tissue_mm2"] == pytest.approx(0.025)
    assert summary["positive_tissue_mm2"] == pytest.approx(0.015)
    assert summary["positive_tissue_fraction"] == pytest.approx(0.6)
    assert summary["regions"]["count"] == 1  # by the corner
    assert summary["regions"]["area_mm2"] == pytest.approx(0.02)
    assert summary["scored_cells"] == 3
    assert summary["prob"]["mean"] == pytest.approx((0.9 + 0.1 + 0.6) / 3)
    assert summary["prob"]["p50"] == pytest.approx(0.6)
    assert (summary["prob"]["min"], summary["prob"]["max"]) == pytest.approx((0.1, 0.9))


def test_the_tissue_at_or_above_any_step_is_a_sum_of_the_histogram() -> None:
    heatmap = make_heatmap([[0.75, 0.1], [np.nan, 1.0]])
    tissue = np.ones((20, 20), bool)
    tissue[:10, :5] = False  # half of the cell at 0.75
    histogram = summarise(heatmap, make_mask(heatmap, tissue))["histogram"]
    assert histogram["bins"] == len(histogram["tissue_mm2"]) == 200
    assert sum(histogram["tissue_mm2"][150:]) == pytest.approx(0.015)
    assert sum(histogram["tissue_mm2"][151:]) == pytest.approx(0.01)
    assert sum(histogram["tissue_mm2"]) == pytest.approx(0.025)


def test_the_summary_measures_tissue_inside_the_bounds_only() -> None:
    heatmap = make_heatmap([[0.9, 0.9]], origin0=(100, 50), extent0=(150, 100))
    summary = summarise(heatmap, make_mask(heatmap))
    assert summary["tissue_mm2"] == pytest.approx(150 * 100 / 1e6)


def test_a_cell_that_the_bounds_cut_is_measured_on_its_part_inside() -> None:
    heatmap = make_heatmap([[0.9, 0.9]], origin0=(100, 50), extent0=(150, 100))
    tissue = np.zeros((20, 30), bool)  # of 10 px each; beyond the bounds there is none
    tissue[5:15, 10:25] = True
    summary = summarise(heatmap, TissueMask(tissue, 10.0, Scale(10, 10), "test"))
    assert summary["tissue_mm2"] == pytest.approx(150 * 100 / 1e6)


def test_the_summary_is_json_and_names_the_largest_regions_alone() -> None:
    heatmap = make_heatmap([[0.9, 0, 0.8, 0.7, 0, 0.6]], mpp=0.5)
    summary = json.loads(json.dumps(summarise(heatmap, make_mask(heatmap), top=2)))
    assert summary["regions"]["count"] == 3
    assert [r["cells"] for r in summary["regions"]["largest"]] == [2, 1]
    assert summary["regions"]["largest"][0]["box0"] == [200, 0, 200, 100]
    assert summary["regions"]["largest"][0]["area_mm2"] == pytest.approx(0.005)


def test_a_slide_without_scores_is_an_outcome_of_its_own() -> None:
    heatmap = make_heatmap(np.full((3, 4), np.nan))
    summary = summarise(heatmap, make_mask(heatmap, np.zeros((30, 40), bool)))
    assert summary["outcome"] == "no tissue"
    assert summary["positive_tissue_fraction"] is None
    assert summary["prob"]["mean"] is None
    assert summary["regions"] == {"count": 0, "area_mm2": 0.0, "largest": []}
    assert regions(heatmap) == []
