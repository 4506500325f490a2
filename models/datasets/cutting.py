"""From a picture to the squares that a network is fed: as it is, made smaller, or cut up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from models.datasets.items import Damage, Int64Array, Item, Pictures, refuse_damaged
from models.datasets.reading import UInt8Array, read_sizes
from models.errors import DatasetError
from wsi.geometry import Mpp, Size
from wsi.grid import TileGrid
from wsi.readers.array import ArraySlide
from wsi.resample import average_box
from wsi.tiler import TilePlan, plan_tiles, read_tiles

__all__ = ["HOW", "Cut", "Rows"]

BACKGROUND = 255
PX_RANGE = (1, 4096)


@dataclass(frozen=True)
class Rows:
    """Which picture each row is of, and where in it: picture int64 (n,), ascending; xy int64
    (n, 2), top left, px of the picture; of a whole picture what was published, else 0."""

    picture: Int64Array
    xy: Int64Array

    def of(self, picture: int) -> range:
        start, stop = np.searchsorted(self.picture, [picture, picture + 1]).tolist()
        return range(start, stop)


@dataclass(frozen=True)
class Cut:
    """how: "tile" leaves a picture as it is, top left on white where it is smaller; "resize" takes
    the averages of its px x px equal parts, whatever its shape; "tiles" cuts it as a slide is cut
    for heatmaps, without overlap, the last ones padded with white.
    mpp: um/px of the tiles; None leaves the picture's own. Raises DatasetError.
    """

    how: str
    px: int
    mpp: float | None = None

    def __post_init__(self) -> None:
        if self.how not in HOW:
            raise DatasetError(f"no way {self.how!r} to cut pictures; use {', '.join(HOW)}")
        if not PX_RANGE[0] <= self.px <= PX_RANGE[1]:
            raise DatasetError(f"tiles of {self.px} px: use {PX_RANGE[0]} to {PX_RANGE[1]}")
        if self.mpp is not None and self.how != "tiles":
            raise DatasetError(
                f"how {self.how!r} does not look at resolutions, so {self.mpp:g} um/px means "
                "nothing to it; leave mpp out, or use 'tiles'"
            )

    def rows(self, pictures: Pictures) -> Rows:
        """Raises DatasetError where a header cannot be read, or a picture has no resolution."""
        if self.how != "tiles":
            xy = [item.xy or (0, 0) for item in pictures.items]
            return Rows(np.arange(len(pictures)), np.array(xy, np.int64).reshape(-1, 2))
        sizes = read_sizes(pictures)
        damaged = [size for size in sizes if isinstance(size, Damage)]
        refuse_damaged(pictures.folder, damaged, len(pictures))
        plans = [
            self.plan(item, size).xy0
            for item, size in zip(pictures.items, sizes, strict=True)
            if not isinstance(size, Damage)
        ]
        counts = [len(xy) for xy in plans]
        return Rows(np.repeat(np.arange(len(plans)), counts), np.concatenate(plans))

    def apply(self, item: Item, rgb: UInt8Array) -> UInt8Array:
        """(height, width, 3) to (rows, px, px, 3). Raises DatasetError, SlideTooCoarse."""
        return HOW[self.how](self, item, rgb)

    def plan(self, item: Item, size: Size) -> TilePlan:
        if item.mpp is None:
            raise DatasetError(f"{item.where} has no resolution, so it cannot be cut at one")
        return _plan_tiles(size, item.mpp, self.px, self.mpp or item.mpp)


def _pad(cut: Cut, item: Item, rgb: UInt8Array) -> UInt8Array:
    height, width = rgb.shape[:2]
    if max(height, width) > cut.px:
        raise DatasetError(
            f"{item.where} is {width} x {height} px, the tiles are {cut.px}; "
            "use 'resize' or 'tiles'"
        )
    padded = np.full((1, cut.px, cut.px, 3), BACKGROUND, np.uint8)
    padded[0, :height, :width] = rgb
    return padded


def _resize(cut: Cut, _: Item, rgb: UInt8Array) -> UInt8Array:
    height, width = rgb.shape[:2]
    return average_box(rgb, 0, 0, width, height, (cut.px, cut.px))[None]


def _tile(cut: Cut, item: Item, rgb: UInt8Array) -> UInt8Array:
    plan = cut.plan(item, Size(rgb.shape[1], rgb.shape[0]))
    slide = ArraySlide([rgb], plan.grid.slide_mpp, path=item.where)
    return next(read_tiles(slide, plan, batch_size=len(plan), workers=1)).rgb


HOW: dict[str, Callable[[Cut, Item, UInt8Array], UInt8Array]] = {
    "tile": _pad,
    "resize": _resize,
    "tiles": _tile,
}


@lru_cache(maxsize=64)
def _plan_tiles(size: Size, picture_mpp: float, px: int, mpp: float) -> TilePlan:
    """All tiles of a picture. Sets have few sizes and resolutions."""
    slide_mpp = Mpp(picture_mpp, picture_mpp)
    grid = TileGrid.over(size, slide_mpp, tile_px=px, mpp=mpp)
    no_pixels = np.broadcast_to(np.uint8(0), (size.height, size.width, 3))
    info = ArraySlide(
        [no_pixels], slide_mpp, path=f"pictures of {size.width} x {size.height} px"
    ).info
    return plan_tiles(info, grid, np.argwhere(np.ones(grid.shape, bool)))
