"""TIFF slides by tiffslide and tifffile: local ones, and remote ones over https:// and s3://."""

import math
from typing import Any, BinaryIO, cast

import numpy as np
import tiffslide
from numpy.typing import NDArray

from wsi.errors import CorruptSlide, SlideNotFound, UnsupportedSlide, WsiError
from wsi.geometry import Box, Mpp, Size, downsample_from_sizes
from wsi.readers.base import BaseSlide
from wsi.readers.gate import Source, is_remote
from wsi.readers.resolution import Stated, resolve, stated_by_tiff
from wsi.readers.samples import rgb_from_samples
from wsi.readers.tiffgate import RESAVE, check_tiff, orientation_warnings
from wsi.readers.tifftags import Ifd, TiffHeader, is_tiff, read_tiff_header
from wsi.slide import RGB, WHITE, Level, SlideInfo

__all__ = ["TiffLevels", "TiffSlideSlide", "open_tiffslide"]

APERIO_YCBCR = 33003  # tifffile leaves these JPEG 2000 tiles in YCbCr: false colours

KEPT_PROPERTIES = {
    "tiffslide.vendor": "openslide.vendor",
    "tiffslide.objective-power": "openslide.objective-power",
    "tiffslide.mpp-x": "openslide.mpp-x",
    "tiffslide.mpp-y": "openslide.mpp-y",
}


class _LevelFrame(tiffslide.TiffSlide):
    """tiffslide with positions in the frame of the level, by the hook that it offers for that."""

    def _read_region_loc_transform(self, location: tuple[int, int], level: int) -> tuple[int, int]:
        return location


class TiffLevels:
    """The levels of one TIFF, pixel for pixel. Reading is safe from several threads."""

    def __init__(self, source: Source, background: RGB = WHITE) -> None:
        self._path = source.path
        self._background = background
        self._stream, self.header = _open_stream(source)
        _check_colours(self.header.main, source.path)
        try:
            self.handle = _LevelFrame(cast(Any, self._stream or source.entry))
            self.sizes = [Size(*size) for size in self.handle.level_dimensions]
            self.handle.zarr_group  # noqa: B018 - made once, here, not by the first two threads
        except Exception as error:  # tifffile and zarr raise what the bytes make them raise
            raise UnsupportedSlide(
                f"{source.path}: tiffslide does not show this TIFF ({error}); {RESAVE}"
            ) from error
        self._ifds = [self._find_ifd(size) for size in self.sizes]

    def find_level(self, size: Size) -> int | None:
        """The level of exactly that size, where all its tiles are in the file."""
        found = next((i for i, own in enumerate(self.sizes) if own == size), None)
        ifd = None if found is None else self._ifds[found]
        return None if ifd is None or ifd.is_sparse else found

    def tile(self, level: int) -> Size:
        ifd = self._ifds[level]
        if ifd is None:
            return Size(*(min(256, side) for side in self.sizes[level]))
        strip = Size(ifd.size.width, min(ifd.rows_per_strip, ifd.size.height))
        return ifd.tile or strip

    def read(self, level: int, box: Box) -> NDArray[np.uint8]:
        """RGB of a box inside the level."""
        try:
            samples = self.handle.read_region(
                (box.x, box.y), level, (box.width, box.height), as_array=True
            )
        except Exception as error:  # codecs and networks raise what they like
            raise CorruptSlide(
                f"{self._path}: the pixels at level {level}, x {box.x}, y {box.y} cannot be read "
                f"({error}); copy the file again from its source"
            ) from error
        inverted = self.header.main.photometric == 0
        rgb = rgb_from_samples(samples, self._background, inverted=inverted)
        self._blank_missing_tiles(rgb, level, box)
        return rgb

    def close(self) -> None:
        self.handle.close()
        if self._stream is not None:
            self._stream.close()

    def _find_ifd(self, size: Size) -> Ifd | None:
        """The directory that a level comes from; None where it is put together of several."""
        if "tiffslide.series-composition" in self.handle.properties:
            return None
        return next((ifd for ifd in self.header.ifds if ifd.size == size), None)

    def _blank_missing_tiles(self, rgb: NDArray[np.uint8], level: int, box: Box) -> None:
        """Tiles that are not stored come as black, and were not scanned: background."""
        ifd = self._ifds[level]
        if ifd is None or ifd.tile is None or not ifd.is_sparse:
            return
        across = -(-ifd.size.width // ifd.tile.width)
        down = -(-ifd.size.height // ifd.tile.height)
        missing = (ifd.counts[: across * down] == 0).reshape(down, across)
        tile = ifd.tile
        for row in range(box.y // tile.height, -(-box.bottom // tile.height)):
            for column in range(box.x // tile.width, -(-box.right // tile.width)):
                if missing[row, column]:
                    place = Box(column * tile.width, row * tile.height, *tile).intersection(box)
                    top, left = place.y - box.y, place.x - box.x
                    rgb[top : top + place.height, left : left + place.width] = self._background


class TiffSlideSlide(BaseSlide):
    """A slide read by tiffslide alone."""

    def __init__(self, levels: TiffLevels, source: Source, mpp: Mpp | None) -> None:
        super().__init__(_read_info(levels, source, mpp))
        self._levels = levels

    def _read_inside(self, level: int, box: Box) -> NDArray[np.uint8]:
        return self._levels.read(level, box)

    def _release(self) -> None:
        self._levels.close()


def open_tiffslide(source: Source, mpp: Mpp | None = None) -> TiffSlideSlide:
    """UnsupportedSlide where it is no TIFF, or none that tifffile shows as RGB."""
    return TiffSlideSlide(TiffLevels(source), source, mpp)


def _read_info(levels: TiffLevels, source: Source, mpp: Mpp | None) -> SlideInfo:
    properties = levels.handle.properties
    power = _number(properties.get("tiffslide.objective-power"))
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
        bounds=_bounds(properties, size0),
        icc_profile=levels.header.main.icc_profile,
        warnings=resolution.warnings + orientation_warnings(levels.header),
        properties=kept,
        files=source.files,
    )


def _stated(levels: TiffLevels, source: Source) -> list[Stated]:
    """The vendor's own value first; tiffslide's others only repeat the tags."""
    properties = levels.handle.properties
    from_tiff = stated_by_tiff(levels.header.main, source.path)
    x, y = (_number(properties.get(f"tiffslide.mpp-{axis}")) for axis in "xy")
    if x is None or y is None or properties.get("tiffslide.vendor") in (None, "hamamatsu"):
        return from_tiff
    return [Stated("tiffslide.mpp-x", Mpp(x, y)), *from_tiff]


def _bounds(properties: dict[str, Any], size0: Size) -> Box | None:
    sides = [
        _number(properties.get(f"tiffslide.bounds-{n}")) for n in ("x", "y", "width", "height")
    ]
    known = [int(side) for side in sides if side is not None]
    if len(known) < 4:
        return None
    bounds = Box(*known).intersection(Box(0, 0, *size0))
    return None if bounds.is_empty else bounds


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _check_colours(main: Ifd, path: str) -> None:
    if main.compression == APERIO_YCBCR:
        raise UnsupportedSlide(
            f"{path}: tiffslide shows its YCbCr JPEG 2000 tiles in false colours; "
            "use reader='openslide' on a local copy"
        )


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
        return SlideNotFound(f"{path}: there is no such object, or no such server; check the address")
    reason = str(error) or type(error).__name__
    return SlideNotFound(
        f"{path}: cannot be read from there ({reason}); check address and credentials"
    )
