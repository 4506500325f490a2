"""One tile out of its source pixels."""

import numpy as np
from numpy.typing import NDArray

from wsi.resample import area_average, average_cells
from wsi.slide import RGB
from wsi.tiler.plan import TilePlan

__all__ = ["average_rows", "resample_tile"]


def resample_tile(
    plan: TilePlan,
    row: int,
    column: int,
    pixels: NDArray[np.uint8],
    background: RGB,
    out: NDArray[np.uint8],
) -> None:
    """Fills `out`, uint8 (tile_px, tile_px, 3), from all pixels that the tile needs.

    The area average, to a grey level; what lies beyond the bounds is background.
    """
    tile_px = plan.grid.tile_px
    shape = (int(plan.rows.whole_length[row]), int(plan.columns.whole_length[column]))
    if min(shape) and not any(length % tile_px for length in shape):
        average_cells(_fill_up(pixels, shape, background), out)
    else:
        out[...] = average_rows(plan, row, column, pixels, 0, slice(0, tile_px), background)


def average_rows(
    plan: TilePlan,
    row: int,
    column: int,
    pixels: NDArray[np.uint8],
    top: int,
    rows: slice,
    background: RGB,
) -> NDArray[np.uint8]:
    """Those rows of a tile, from its pixels of `top` (counted from its first) and further down."""
    tile_px = plan.grid.tile_px
    down, across = plan.rows.weights(row, tile_px), plan.columns.weights(column, tile_px)
    if len(pixels) < down.length:
        down = down.part(rows, top, len(pixels))
    is_cut = plan.rows.is_cut(row) or plan.columns.is_cut(column)
    return area_average(pixels, down, across, background if is_cut else None)


def _fill_up(
    pixels: NDArray[np.uint8], shape: tuple[int, int], background: RGB
) -> NDArray[np.uint8]:
    """(rows, columns, 3): the pixels at the top left, background beyond them."""
    if pixels.shape[:2] == shape:
        return pixels
    sheet = np.empty((*shape, 3), np.uint8)
    sheet[:] = background
    sheet[: len(pixels), : pixels.shape[1]] = pixels
    return sheet
