"""TIFF slides by tiffslide and tifffile: local ones, and remote ones over https:// and s3://."""

import numpy as np
from numpy.typing import NDArray

from wsi.errors import UnsupportedSlide
from wsi.geometry import Box, Mpp, downsample_from_sizes
from wsi.readers.base import BaseSlide
from wsi.readers.gate import Source
from wsi.readers.properties import read_bounds, read_number, read_power
from wsi.readers.resolution import Stated, resolve, stated_by_tiff
from wsi.readers.tiffgate import orientation_warnings
from wsi.readers.tifflevels import TiffLevels
from wsi.readers.tiffplan import table_spans
from wsi.readers.tifftags import TiffHeader
from wsi.slide import Level, SlideInfo

__all__ = ["TiffSlideSlide", "describe_tiffslide", "open_tiffslide"]

KEPT_PROPERTIES = {
    "tiffslide.vendor": "openslide.vendor",
    "tiffslide.objective-power": "openslide.objective-power",
    "tiffslide.mpp-x": "openslide.mpp-x",
    "tiffslide.mpp-y": "openslide.mpp-y",
}


class TiffSlideSlide(BaseSlide):
    """A TIFF as tiffslide understands it."""

    def __init__(self, levels: TiffLevels, source: Source, mpp: Mpp | None) -> None:
        super().__init__(_read_info(levels, source, mpp))
        self._levels = levels

    def _read_inside(self, level: int, box: Box) -> NDArray[np.uint8]:
        return self._levels.read(level, box)

    def _release(self) -> None:
        self._levels.close()


def open_tiffslide(source: Source, mpp: Mpp | None = None) -> TiffSlideSlide:
    """UnsupportedSlide where it is no TIFF, or none that tifffile shows as RGB."""
    levels = TiffLevels(source, _require_tiff(source))
    try:
        return TiffSlideSlide(levels, source, mpp)
    except BaseException:
        levels.leave()
        raise


def describe_tiffslide(source: Source, mpp: Mpp | None = None) -> SlideInfo:
    """What open_tiffslide() would say of it; a remote file stays open, and its tables unread."""
    header = _require_tiff(source)
    levels = TiffLevels(source, header, blank=table_spans(header))
    try:
        return _read_info(levels, source, mpp)
    finally:
        levels.leave()


def _require_tiff(source: Source) -> TiffHeader:
    if source.tiff is None:
        raise UnsupportedSlide(f"{source.path}: no TIFF, and tiffslide reads nothing else")
    return source.tiff


def _read_info(levels: TiffLevels, source: Source, mpp: Mpp | None) -> SlideInfo:
    properties = levels.handle.properties
    power = read_power(properties, "tiffslide.objective-power")
    resolution = resolve(_stated(levels, source), mpp, power)
    size0 = levels.sizes[0]
    kept = {
        new: str(properties[old])
        for old, new in KEPT_PROPERTIES.items()
        if properties.get(old) is not None
    }
    return SlideInfo(
        path=source.path,
        reader="tiffslide",
        vendor=str(properties.get("tiffslide.vendor") or "generic-tiff"),
        size=size0,
        levels=tuple(
            Level(size, downsample_from_sizes(size0, size), levels.tile(i))
            for i, size in enumerate(levels.sizes)
        ),
        mpp=resolution.mpp,
        mpp_source=resolution.source,
        objective_power=power,
        bounds=read_bounds(properties, "tiffslide.bounds", size0),
        icc_profile=levels.header.main.icc_profile,
        warnings=resolution.warnings + orientation_warnings(levels.header),
        properties=kept,
        files=source.files,
        remote=source.remote.identity if source.remote is not None else None,
    )


def _stated(levels: TiffLevels, source: Source) -> list[Stated]:
    """The vendor's own value first; tiffslide's others only repeat the tags."""
    properties = levels.handle.properties
    from_tiff = stated_by_tiff(levels.header.main, source.path)
    x, y = (read_number(properties, f"tiffslide.mpp-{axis}") for axis in "xy")
    if x is None or y is None or properties.get("tiffslide.vendor") in (None, "hamamatsu"):
        return from_tiff
    return [Stated("tiffslide.mpp-x", Mpp(x, y)), *from_tiff]
