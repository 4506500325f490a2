"""A stored heatmap, looked at piece by piece."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wsi.errors import InvalidOption, StoreGone, StoreIncomplete
from wsi.geometry import Box, Mpp, Scale, Size
from wsi.heatmap import Heatmap, pyramid
from wsi.store import write_heatmap
from wsi.view import HeatmapView


def make_view(
    folder: Path,
    values: NDArray[np.float32],
    *,
    size0: Size,
    cell0: float,
    bounds0: Box | None = None,
    channels: dict[str, NDArray[np.float32]] | None = None,
) -> HeatmapView:
    """Two classes: `values` (rows, columns) for "idc", 1 - values for the other."""
    bounds0 = bounds0 or Box(0, 0, *size0)
    more = channels or {}
    both = np.stack([1 - values, values, *more.values()]).astype(np.float32)
    levels = pyramid(both)
    path = folder / "heatmap.zarr"
    write_heatmap(
        path,
        levels,
        [np.ones(level.shape[1:], np.uint8) for level in levels],
        cell_um=Scale(cell0 / 2, cell0 / 2),
        origin_um=Scale(bounds0.x / 2, bounds0.y / 2),
        classes=("other", "idc"),
        attributes={
            "positive_class": "idc",
            "threshold": 0.5,
            "size0": list(size0),
            "slide_mpp": [0.5, 0.5],
            "bounds0": list(bounds0),
            "cell0": [cell0, cell0],
        },
        channels=tuple(more),
        overwrite=True,
    )
    return HeatmapView(path)


def test_what_is_deleted_while_it_is_looked_at_is_no_empty_heatmap(tmp_path: Path) -> None:
    view = make_view(tmp_path, np.full((2, 2), 0.5, np.float32), size0=Size(200, 200), cell0=100)
    seen = view.plane(Box(0, 0, 200, 200), 1)
    (tmp_path / "heatmap.zarr").rename(tmp_path / "heatmap.zarr.deleted")

    for _ in range(2):  # nothing of it is kept
        with pytest.raises(StoreGone, match="deleted"):
            view.plane(Box(0, 0, 200, 200), 1, "other")
    with pytest.raises(StoreGone):
        view.at(50, 50)
    np.testing.assert_array_equal(view.plane(Box(0, 0, 200, 200), 1), seen)


def test_a_px_of_level_0_has_the_value_of_its_cell(tmp_path: Path) -> None:
    values = np.array([[0.25, 0.5], [0.75, np.nan]], np.float32)
    view = make_view(tmp_path, values, size0=Size(200, 200), cell0=100)
    shown = view.plane(Box(98, 98, 4, 4), 1)
    assert shown[0].tolist() == [0.25, 0.25, 0.5, 0.5]
    assert shown[2, :2].tolist() == [0.75, 0.75]
    assert np.isnan(shown[2:, 2:]).all()


def test_a_px_of_several_cells_has_their_mean_without_nan(tmp_path: Path) -> None:
    values = np.array([[0.25, 0.5], [0.75, np.nan]], np.float32)
    view = make_view(tmp_path, values, size0=Size(200, 200), cell0=100)
    shown = view.plane(Box(0, 0, 1, 1), 200)
    assert shown.tolist() == [[0.5]]  # (0.25 + 0.5 + 0.75) / 3


def test_a_coarse_px_that_touches_one_scored_cell_has_its_value(tmp_path: Path) -> None:
    values = np.full((600, 600), np.nan, np.float32)
    values[599, 3] = 0.5
    view = make_view(tmp_path, values, size0=Size(2400, 2400), cell0=4)
    shown = view.plane(Box(0, 0, 10, 10), 240)
    assert np.argwhere(np.isfinite(shown)).tolist() == [[9, 0]]
    assert shown[9, 0] == 0.5


def test_nothing_is_shown_outside_the_bounds(tmp_path: Path) -> None:
    values = np.ones((1, 2), np.float32)
    bounds0 = Box(100, 50, 180, 100)  # the second cell reaches 20 px over the edge
    view = make_view(tmp_path, values, size0=Size(400, 200), cell0=100, bounds0=bounds0)
    shown = view.plane(Box(0, 0, 400, 200), 1)
    rows, columns = np.nonzero(np.isfinite(shown))
    assert (columns.min(), columns.max() + 1) == (100, 280)
    assert (rows.min(), rows.max() + 1) == (50, 150)


def test_a_box_beyond_the_slide_is_empty(tmp_path: Path) -> None:
    view = make_view(tmp_path, np.ones((2, 2), np.float32), size0=Size(200, 200), cell0=100)
    assert np.isnan(view.plane(Box(256, 256, 8, 8), 1)).all()
    assert np.isnan(view.plane(Box(-50, -50, 8, 8), 1)).all()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cell0=st.sampled_from([16.0, 10.3, 3.97]),
    start=st.integers(0, 900),
    left0=st.integers(0, 40),
)
def test_level_0_is_the_map_of_the_rounded_cells(
    tmp_path: Path, cell0: float, start: int, left0: int
) -> None:
    """Referee: the heatmap's own edges, painted one cell after the other."""
    count = 90
    values = np.linspace(0, 1, count, dtype=np.float32)[None]
    width = int(np.ceil(count * cell0)) + left0
    bounds0 = Box(left0, 0, int(count * cell0), 8)
    view = make_view(tmp_path, values, size0=Size(width, 8), cell0=cell0, bounds0=bounds0)
    edges = Heatmap(
        values[None], ("idc",), "idc", 0.5, view.size0, Mpp(1, 1), bounds0, view.cell0
    ).edges_x0.astype(int)
    painted = np.full(start + 64 + width, np.nan, np.float32)
    for column in range(count):
        painted[edges[column] : edges[column + 1]] = values[0, column]
    shown = view.plane(Box(start, 2, 64, 1), 1)[0]
    assert np.array_equal(shown, painted[start : start + 64], equal_nan=True)


@pytest.mark.parametrize("scale0", [1, 2, 4, 8, 32, 96, 480])
def test_every_scale_shows_the_area_mean_of_level_0(tmp_path: Path, scale0: int) -> None:
    """Referee: level 0 painted out, and averaged block by block."""
    values = np.random.default_rng(0).random((600, 700), np.float32)
    view = make_view(tmp_path, values, size0=Size(2800, 2400), cell0=4)
    side = 2400 // scale0
    full = np.repeat(np.repeat(values, 4, 0), 4, 1)[:2400, :2400]
    mean = full.reshape(side, scale0, side, scale0).mean((1, 3))
    shown = view.plane(Box(0, 0, side, side), scale0)
    np.testing.assert_allclose(shown, mean, atol=1e-5)


def test_a_point_names_its_cell_and_all_classes(tmp_path: Path) -> None:
    values = np.array([[0.25, 0.5], [0.75, np.nan]], np.float32)
    view = make_view(tmp_path, values, size0=Size(200, 200), cell0=100)
    assert view.at(99.9, 100) == (Box(0, 100, 100, 100), {"other": 0.25, "idc": 0.75}, {})
    assert view.at(150, 150) is None
    assert view.at(200, 0) is None
    assert view.at(-1, 0) is None


def test_a_channel_is_shown_and_told_beside_the_classes(tmp_path: Path) -> None:
    values, doubt = np.array([[[0.25, 0.5]], [[0.125, 0.0625]]], np.float32)
    view = make_view(
        tmp_path, values, size0=Size(200, 100), cell0=100, channels={"uncertainty": doubt}
    )
    assert (view.classes, view.channels) == (("other", "idc"), ("uncertainty",))
    assert view.plane(Box(0, 0, 2, 1), 100, "uncertainty").tolist() == [[0.125, 0.0625]]
    cell = view.at(150, 50)
    assert cell is not None
    assert cell.prob == {"other": 0.5, "idc": 0.5}
    assert cell.channels == {"uncertainty": 0.0625}


def test_a_missing_part_is_no_empty_heatmap(tmp_path: Path) -> None:
    values = np.full((3000, 3000), 0.5, np.float32)  # too large to be kept whole
    view = make_view(tmp_path, values, size0=Size(3000, 3000), cell0=1)
    (tmp_path / "heatmap.zarr" / "0" / "c" / "1" / "0" / "0").write_bytes(b"damaged")
    with pytest.raises(StoreIncomplete, match="damaged"):
        view.plane(Box(0, 0, 4, 4), 1)
    (tmp_path / "heatmap.zarr" / "0" / "c" / "1" / "0" / "0").unlink()
    with pytest.raises(StoreIncomplete, match="damaged or missing"):
        HeatmapView(tmp_path / "heatmap.zarr")


def test_another_class_is_shown_by_its_name(tmp_path: Path) -> None:
    view = make_view(tmp_path, np.array([[0.25]], np.float32), size0=Size(100, 100), cell0=100)
    assert view.plane(Box(0, 0, 1, 1), 1, "other").tolist() == [[0.75]]
    with pytest.raises(InvalidOption, match="use one of other, idc"):
        view.plane(Box(0, 0, 1, 1), 1, "benign")


def test_the_whole_slide_fits_a_side(tmp_path: Path) -> None:
    view = make_view(tmp_path, np.ones((2, 4), np.float32), size0=Size(400, 200), cell0=100)
    assert view.fitted(100).shape == (50, 100)


def test_planes_are_kept_until_they_are_to_be_forgotten(tmp_path: Path) -> None:
    view = make_view(tmp_path, np.full((4, 6), 0.5, np.float32), size0=Size(600, 400), cell0=100)
    assert view.kept_bytes == 0
    before = view.plane(Box(0, 0, 300, 200), 2)
    assert view.kept_bytes == 4 * 6 * 4
    view.plane(Box(0, 0, 300, 200), 2, "other")
    assert view.kept_bytes == 2 * 4 * 6 * 4
    view.forget()
    assert view.kept_bytes == 0
    assert (view.plane(Box(0, 0, 300, 200), 2) == before).all()
