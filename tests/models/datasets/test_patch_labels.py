"""Labels of tiles against outlines that were painted pixel by pixel."""

import numpy as np
import pytest
import shapely
from skimage.draw import polygon2mask

from models.datasets.annotations import Region
from models.datasets.patch_labels import BETWEEN, DISPUTED, label_tiles
from tests.models.annotated import rectangle
from wsi.geometry import Mpp, Size
from wsi.grid import TileGrid

SIZE = Size(500, 400)


def make_grid(tile_px: int = 100, mpp: float = 0.42) -> TileGrid:
    """By default 5 x 4 squares of 100 px."""
    return TileGrid.over(SIZE, Mpp(0.42, 0.42), tile_px=tile_px, mpp=mpp)


def make_region(label: int | None, x0: float, y0: float, width: float, height: float) -> Region:
    return Region(label, shapely.Polygon(rectangle(x0, y0, width, height)))


def labels_of(*regions: Region, coverage: float = 0.75, grid: TileGrid | None = None) -> np.ndarray:
    """(rows, columns)"""
    grid = grid or make_grid()
    indices = np.argwhere(np.ones(grid.shape, bool))
    return label_tiles(grid, indices, regions, coverage).reshape(grid.shape)


def test_three_quarters_are_enough_and_less_is_not():
    first_row = labels_of(make_region(2, 0, 0, 175, 100))[0]
    assert first_row.tolist() == [2, 2, 0, 0, 0]
    first_row = labels_of(make_region(2, 0, 0, 174.9, 100))[0]
    assert first_row.tolist() == [2, BETWEEN, 0, 0, 0]
    assert labels_of(make_region(2, 0, 0, 175, 100), coverage=1)[0, 1] == BETWEEN


def test_a_region_that_ends_at_a_border_does_not_touch_the_neighbour():
    labels = labels_of(make_region(1, 100, 100, 100, 100))
    assert labels[1, 1] == 1
    assert (labels == 0).sum() == 19


def test_regions_of_one_class_cover_together():
    halves = make_region(3, 0, 0, 50, 100), make_region(3, 50, 0, 50, 100)
    assert labels_of(*halves)[0, 0] == 3


def test_overlapping_regions_of_one_class_do_not_count_twice():
    assert labels_of(make_region(3, 0, 0, 50, 100), make_region(3, 0, 0, 50, 100))[0, 0] == BETWEEN


def test_regions_of_two_classes_side_by_side_leave_a_patch_between():
    assert labels_of(make_region(1, 0, 0, 50, 100), make_region(3, 50, 0, 50, 100))[0, 0] == BETWEEN


def test_regions_of_two_classes_on_each_other_are_disputed():
    both = make_region(1, 0, 0, 200, 100), make_region(2, 0, 0, 100, 100)
    assert labels_of(*both)[0].tolist() == [DISPUTED, 1, 0, 0, 0]


def test_a_region_called_normal_changes_nothing_of_normal_tissue():
    assert (labels_of(make_region(0, 0, 0, 250, 250)) == 0).all()


def test_what_lies_in_a_hole_is_neither_covered_nor_normal():
    labels = labels_of(make_region(1, 0, 0, 300, 300), make_region(None, 100, 100, 100, 100))
    assert labels[:3, :3].tolist() == [[1, 1, 1], [1, BETWEEN, 1], [1, 1, 1]]


def test_off_the_slide_an_edge_tile_is_covered_by_nothing():
    grid = make_grid(tile_px=150)  # the last column shows 50 of its 150 px
    assert labels_of(make_region(1, 0, 0, 500, 400), grid=grid)[0].tolist() == [1, 1, 1, BETWEEN]


def test_without_tiles_there_are_no_labels():
    assert len(label_tiles(make_grid(), np.empty((0, 2), np.int32), [])) == 0


@pytest.mark.parametrize("seed", range(4))
def test_drawn_outlines_give_the_labels_that_their_pixels_give(seed: int):
    """Stars of 40 vertices, rasterised; tiles nearer than 2 % to a limit are not judged."""
    rng = np.random.default_rng(seed)
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    painted = np.zeros((4, SIZE.height, SIZE.width), bool)
    regions = []
    for label in (1, 2, 3):
        radius, centre = rng.uniform(60, 140, 40), rng.uniform((100, 100), (400, 300))
        xy = centre + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
        xy = np.clip(xy, 0, SIZE)
        regions.append(Region(label, shapely.Polygon(xy).buffer(0)))
        painted[label] = polygon2mask(painted.shape[1:], xy[:, ::-1] - 0.5)
    found = labels_of(*regions, grid=make_grid(tile_px=25))

    tiles = painted.reshape(4, 16, 25, 20, 25).swapaxes(2, 3)
    part, touched = tiles.mean((3, 4)), tiles.any(0).mean((2, 3))
    is_clear = (np.abs(part - 0.75) > 0.02).all(0) & ((touched == 0) | (touched > 0.02))
    wins = part >= 0.75
    expected = np.where(touched > 0, BETWEEN, 0)
    expected = np.where(wins.any(0), wins.argmax(0), expected)
    expected = np.where(wins.sum(0) > 1, DISPUTED, expected)
    near_corner = (touched == 0) & (found == BETWEEN)  # less than a pixel's centre
    is_clear &= ~near_corner
    np.testing.assert_array_equal(found[is_clear], expected[is_clear])
    assert is_clear.mean() > 0.9
    assert len(set(expected[is_clear].tolist())) >= 5
