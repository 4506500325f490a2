"""Pictures of slides and heatmaps for viewers, tile by tile, made when somebody looks."""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from service.pictures.bytecache import ByteCache
from wsi.deepzoom import Address
from wsi.geometry import Box, Scale, Size, best_level
from wsi.overview import read_box
from wsi.render import Style, encode, render
from wsi.slide import Slide
from wsi.view import HeatmapView

__all__ = ["COLORMAP", "Colouring", "HeatmapTiles", "slide_picture", "slide_tile"]

COLORMAP = Literal[
    "viridis", "inferno", "magma", "plasma", "cividis", "turbo", "gray", "coolwarm"
]  # fmt: skip
"""The keys of wsi.render.COLORMAPS."""

OPEN_VIEWS = 64

JPEG_QUALITY = 85


@dataclass(frozen=True)
class Colouring:
    """How values of a class become colours."""

    style: Style
    name: str | None  # of the class; None: the positive one


class HeatmapTiles:
    """Of finished results, which never change: what was made once is kept, as far as it fits."""

    def __init__(self, cache_bytes: int) -> None:
        self._made = ByteCache(cache_bytes)
        self._views: OrderedDict[Path, HeatmapView] = OrderedDict()
        self._lock = threading.Lock()

    def view(self, heatmap: Path) -> HeatmapView:
        """The heatmap.zarr of a result, opened once. Raises StoreIncomplete, StoreMismatch."""
        with self._lock:
            if heatmap in self._views:
                self._views.move_to_end(heatmap)
                return self._views[heatmap]
        view = HeatmapView(heatmap)
        with self._lock:
            self._views[heatmap] = view
            while len(self._views) > OPEN_VIEWS:
                self._views.popitem(last=False)
        return view

    def cached(
        self, heatmap: Path, address: Address, style: Style, name: str | None = None
    ) -> bytes | None:
        """The PNG of a tile that was asked for before."""
        return self._made.get((heatmap, address, style, name))

    def tile(self, heatmap: Path, address: Address, style: Style, name: str | None = None) -> bytes:
        """PNG, RGBA: colours of a class where it was scored, transparent elsewhere."""
        made = self.cached(heatmap, address, style, name)
        if made is None:
            values = self.view(heatmap).plane(address.box, address.scale0, name)
            made = encode(render(values, style))
            self._made.put((heatmap, address, style, name), made)
        return made

    def picture(
        self, heatmap: Path, longest_px: int, style: Style, name: str | None = None
    ) -> bytes:
        """PNG, RGBA, of all of level 0, as tile()."""
        key = (heatmap, longest_px, style, name)
        made = self._made.get(key)
        if made is None:
            made = encode(render(self.view(heatmap).fitted(longest_px, name), style))
            self._made.put(key, made)
        return made


def slide_tile(slide: Slide, address: Address) -> bytes:
    """JPEG of a part of the slide at the address's scale."""
    px0 = Scale(address.scale0, address.scale0)
    pixels = read_box(slide, _level(slide, px0), px0, address.box)
    return encode(pixels, "jpeg", quality=JPEG_QUALITY)


def slide_picture(slide: Slide, longest_px: int) -> bytes:
    """JPEG of all of level 0, its longer side at most `longest_px`."""
    size0 = slide.info.size
    scale0 = max(1.0, max(size0) / longest_px)
    size = Size(*(max(1, round(side / scale0)) for side in size0))
    px0 = Scale(size0.width / size.width, size0.height / size.height)
    pixels = read_box(slide, _level(slide, px0), px0, Box(0, 0, *size))
    return encode(pixels, "jpeg", quality=JPEG_QUALITY)


def _level(slide: Slide, px0: Scale) -> int:
    """The coarsest whose px are no larger than those of the picture, but for a tolerance."""
    downsamples = [level.downsample for level in slide.info.levels]
    return best_level([max(d.x / px0.x, d.y / px0.y) for d in downsamples], 1.0)
