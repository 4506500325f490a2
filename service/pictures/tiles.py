"""Pictures of slides and heatmaps for viewers, tile by tile, made when somebody looks."""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from service.errors import PictureTooLarge
from service.pictures.bytecache import ByteCache
from wsi.deepzoom import Address
from wsi.geometry import Box, Scale, Size, best_level
from wsi.overview import read_box
from wsi.render import Style, encode, render
from wsi.slide import Slide
from wsi.view import HeatmapView

__all__ = [
    "COLORMAP",
    "MOST_SOURCE_PX",
    "Colouring",
    "HeatmapTiles",
    "slide_picture",
    "slide_tile",
]

COLORMAP = Literal[
    "viridis", "inferno", "magma", "plasma", "cividis", "turbo", "gray", "coolwarm"
]  # fmt: skip
"""The keys of wsi.render.COLORMAPS."""

OPEN_VIEWS = 64

JPEG_QUALITY = 85

MOST_SOURCE_PX = 64 << 20
"""Of one level, for one picture: 1 to 4 s of one core, by the codec. A tile of a slide whose levels
are a factor of four apart takes 1 Mpx at most, and its coarsest ones the coarsest level, some Mpx.
"""


@dataclass(frozen=True)
class Colouring:
    """How values of a class become colours."""

    style: Style
    name: str | None  # of the class; None: the positive one


class HeatmapTiles:
    """Of finished results, which never change: what was made once is kept, as far as it fits."""

    def __init__(self, cache_bytes: int) -> None:
        """`cache_bytes`: of pictures, and of the planes that views keep, in memory."""
        self._made = ByteCache(cache_bytes)
        self._most_plane_bytes = cache_bytes // 2
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
                _, oldest = self._views.popitem(last=False)
                oldest.forget()
        return view

    @property
    def size_bytes(self) -> int:
        """Of pictures and planes that are kept."""
        return self._made.size_bytes + self._made.lent_bytes

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
            self._count_planes()
            made = encode(render(values, style))
            self._made.put((heatmap, address, style, name), made)
        return made

    def cached_picture(
        self, heatmap: Path, longest_px: int, style: Style, name: str | None = None
    ) -> bytes | None:
        """The PNG of a picture() that was asked for before."""
        return self._made.get((heatmap, longest_px, style, name))

    def picture(
        self, heatmap: Path, longest_px: int, style: Style, name: str | None = None
    ) -> bytes:
        """PNG, RGBA, of all of level 0, as tile()."""
        made = self.cached_picture(heatmap, longest_px, style, name)
        if made is None:
            values = self.view(heatmap).fitted(longest_px, name)
            self._count_planes()
            made = encode(render(values, style))
            self._made.put((heatmap, longest_px, style, name), made)
        return made

    def _count_planes(self) -> None:
        """Those of the views that were not looked at for longest go, until the rest is half of the
        cache at most; the pictures have what is left of it."""
        with self._lock:
            kept_bytes = sum(view.kept_bytes for view in self._views.values())
            for view in self._views.values():
                if kept_bytes <= self._most_plane_bytes:
                    break
                kept_bytes -= view.kept_bytes
                view.forget()
            self._made.lend(kept_bytes)


def slide_tile(slide: Slide, address: Address) -> bytes:
    """JPEG of a part of the slide at the address's scale. Raises PictureTooLarge."""
    return _jpeg(slide, Scale(address.scale0, address.scale0), address.box)


def slide_picture(slide: Slide, longest_px: int) -> bytes:
    """JPEG of all of level 0, its longer side at most `longest_px`. Raises PictureTooLarge."""
    size0 = slide.info.size
    scale0 = max(1.0, max(size0) / longest_px)
    size = Size(*(max(1, round(side / scale0)) for side in size0))
    px0 = Scale(size0.width / size.width, size0.height / size.height)
    return _jpeg(slide, px0, Box(0, 0, *size))


def _jpeg(slide: Slide, px0: Scale, box: Box) -> bytes:
    level = _level(slide, px0)
    _require_affordable(slide, level, px0, box)
    return encode(read_box(slide, level, px0, box), "jpeg", quality=JPEG_QUALITY)


def _require_affordable(slide: Slide, level: int, px0: Scale, box: Box) -> None:
    size0 = slide.info.size
    width0 = min(box.right * px0.x, size0.width) - box.x * px0.x
    height0 = min(box.bottom * px0.y, size0.height) - box.y * px0.y
    downsample = slide.info.levels[level].downsample
    source_px = width0 / downsample.x * height0 / downsample.y
    if source_px > MOST_SOURCE_PX:
        raise PictureTooLarge(
            f"the picture would be made of {source_px / 1e6:.0f} Mpx of level {level} (limit "
            f"{MOST_SOURCE_PX / 1e6:.0f}), and the slide has no coarser level that would do: look "
            "at a smaller part, or save the slide as a pyramid"
        )


def _level(slide: Slide, px0: Scale) -> int:
    """The coarsest whose px are no larger than those of the picture, but for a tolerance."""
    downsamples = [level.downsample for level in slide.info.levels]
    return best_level([max(d.x / px0.x, d.y / px0.y) for d in downsamples], 1.0)
