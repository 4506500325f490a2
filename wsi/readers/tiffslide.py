"""TIFF slides by tiffslide and tifffile: local ones, and remote ones over https:// and s3://."""

from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from wsi.errors import SlideNotFound, UnsupportedSlide, WsiError
from wsi.geometry import Box, Mpp, downsample_from_sizes
from wsi.readers.base import BaseSlide
from wsi.readers.gate import Source, is_remote
from wsi.readers.properties import read_bounds, read_number, read_power
from wsi.readers.resolution import Stated, resolve, stated_by_tiff
from wsi.readers.tiffgate import check_tiff, orientation_warnings
from wsi.readers.tifflevels import TiffLevels
from wsi.readers.tifftags import TiffHeader, is_tiff, read_tiff_header
from wsi.slide import Level, SlideInfo

__all__ = ["TiffSlideSlide", "open_tiffslide"]

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
    stream, header = _open_stream(source)
    try:
        levels = TiffLevels(source, header, stream=stream)
    except BaseException:
        if stream is not None:
            stream.close()
        raise
    try:
        return TiffSlideSlide(levels, source, mpp)
    except BaseException:
        levels.close()
        raise


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
    )


def _stated(levels: TiffLevels, source: Source) -> list[Stated]:
    """The vendor's own value first; tiffslide's others only repeat the tags."""
    properties = levels.handle.properties
    from_tiff = stated_by_tiff(levels.header.main, source.path)
    x, y = (read_number(properties, f"tiffslide.mpp-{axis}") for axis in "xy")
    if x is None or y is None or properties.get("tiffslide.vendor") in (None, "hamamatsu"):
        return from_tiff
    return [Stated("tiffslide.mpp-x", Mpp(x, y)), *from_tiff]


def _open_stream(source: Source) -> tuple[BinaryIO | None, TiffHeader]:
    """The header, and for a URL the stream that stays open. The gate checks what it reads."""
    if source.tiff is not None:
        return None, source.tiff
    if not is_remote(source.path):
        raise UnsupportedSlide(f"{source.path}: no TIFF, and tiffslide reads nothing else")
    stream, size_bytes = _open_remote(source.path)
    try:
        return stream, _read_remote_header(stream, size_bytes, source.path)
    except WsiError:
        stream.close()
        raise
    except Exception as error:  # fsspec's back ends raise each their own
        stream.close()
        raise _remote_error(source.path, error) from error


def _read_remote_header(stream: BinaryIO, size_bytes: int, path: str) -> TiffHeader:
    head = stream.read(8)
    if not is_tiff(head):
        raise UnsupportedSlide(
            f"{path}: no TIFF; only TIFF slides (SVS, SCN, OME-TIFF …) are read from a URL, "
            "copy others to a local disk"
        )
    header = read_tiff_header(stream, size_bytes, path)
    check_tiff(header, path)
    stream.seek(0)
    return header


def _open_remote(path: str) -> tuple[BinaryIO, int]:
    from fsspec.core import url_to_fs

    try:
        filesystem, inner = url_to_fs(path)
        stream = filesystem.open(inner, "rb")
    except Exception as error:  # fsspec's back ends raise each their own
        raise _remote_error(path, error) from error
    if not getattr(stream, "size", None):
        stream.close()
        raise UnsupportedSlide(
            f"{path}: the server does not serve parts of a file (Range requests); "
            "copy the slide to a local disk"
        )
    return cast(BinaryIO, stream), int(stream.size)


def _remote_error(path: str, error: Exception) -> WsiError:
    if isinstance(error, ImportError):
        extra = "[s3]" if path.startswith("s3://") else ""
        return UnsupportedSlide(
            f"{path}: a library for this kind of address is missing ({error}); "
            f"pip install 'wsi-heatmap{extra}'"
        )
    if isinstance(error, FileNotFoundError):
        return SlideNotFound(
            f"{path}: there is no such object, or no such server; check the address"
        )
    reason = str(error) or type(error).__name__
    return SlideNotFound(
        f"{path}: cannot be read from there ({reason}); check address and credentials"
    )
