"""Slides that OpenSlide opens: SVS, NDPI, MRXS, SCN, BIF, VMS, tiled TIFF, DICOM, CZI."""

import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import openslide
from numpy.typing import NDArray
from PIL import Image

from wsi.errors import CorruptSlide, UnsupportedSlide, WsiError
from wsi.geometry import Box, Mpp, Size, downsample_from_sizes, round_half_up
from wsi.readers.base import DEFAULT_TILE, BaseSlide
from wsi.readers.gate import Source
from wsi.readers.limits import check_level_count, check_slide_size
from wsi.readers.properties import read_bounds, read_number, read_power
from wsi.readers.resolution import Stated, resolve, stated_by_tiff
from wsi.readers.tiffgate import RESAVE, orientation_warnings
from wsi.slide import RGB, WHITE, Level, SlideInfo

if TYPE_CHECKING:
    from wsi.readers.tifflevels import TiffLevels

__all__ = ["OpenSlideSlide", "can_open", "open_openslide"]

BLOCK_PX = 4096  # OpenSlide cuts larger reads itself, and rounds each cut down to level-0 pixels

EXACT_VENDORS = ("aperio", "generic-tiff", "philips-tiff")
"""TIFFs whose levels are single pictures of the file, so that they can be read tile by tile."""

KEPT_PROPERTIES = (
    "openslide.vendor",
    "openslide.objective-power",
    "openslide.mpp-x",
    "openslide.mpp-y",
    "openslide.bounds-x",
    "openslide.bounds-y",
    "openslide.bounds-width",
    "openslide.bounds-height",
    "openslide.background-color",
    "openslide.level-count",
    "openslide.quickhash-1",
)
"""An allow-list: vendors' own properties hold names, dates and barcodes of patients."""

UNSUPPORTED_WORDS = ("nsupported", "nrecognized", "not supported", "No pyramid levels", " != ")
"""What OpenSlide's messages about whole files that it cannot show have in common."""


def can_open(source: Source) -> bool:
    """Whether OpenSlide claims the format, and shows it as it is."""
    if source.tiff is not None:
        main = source.tiff.main
        if main.samples == 2:  # it shows grey with alpha as if nothing were transparent
            return False
    return openslide.OpenSlide.detect_format(source.entry) is not None


def open_openslide(source: Source, mpp: Mpp | None = None) -> "OpenSlideSlide":
    """UnsupportedSlide or CorruptSlide, in our words, where OpenSlide refuses the file."""
    try:
        handle = openslide.OpenSlide(source.entry)
    except openslide.OpenSlideError as error:
        raise _open_error(source, error) from error
    try:
        return OpenSlideSlide(handle, source, mpp)
    except BaseException:
        handle.close()
        raise


class OpenSlideSlide(BaseSlide):
    """OpenSlide takes level-0 positions, and interpolates between the pixels of a level.

    That is what happens on most levels of most SVS files, whose downsample is 4.0003 rather than 4
    because the writer cut the last pixels. Such levels of a TIFF are read tile by tile past
    OpenSlide; in other formats the position is rounded, and off by half a level-0 pixel at most.
    """

    def __init__(self, handle: openslide.OpenSlide, source: Source, mpp: Mpp | None) -> None:
        super().__init__(_read_info(handle, source, mpp))
        self._handle = handle
        self._source = source
        self._numbers = _stored_levels(handle, source)
        self._downsamples = handle.level_downsamples
        self._exact: TiffLevels | None = None
        self._exact_tried = False
        self._exact_lock = threading.Lock()
        self._past_openslide = tuple(self._is_inexact(handle, number) for number in self._numbers)

    def _read_inside(self, level: int, box: Box) -> NDArray[np.uint8]:
        exact = self._exact_levels() if self._past_openslide[level] else None
        page = exact.find_level(self._info.levels[level].size) if exact else None
        if exact is not None and page is not None:
            return exact.read(page, box)
        if max(box.width, box.height) <= BLOCK_PX:
            return self._read_block(level, box)
        out = np.empty((box.height, box.width, 3), np.uint8)
        for y in range(0, box.height, BLOCK_PX):
            for x in range(0, box.width, BLOCK_PX):
                width, height = min(BLOCK_PX, box.width - x), min(BLOCK_PX, box.height - y)
                block = self._read_block(level, Box(box.x + x, box.y + y, width, height))
                out[y : y + height, x : x + width] = block
        return out

    def _read_block(self, level: int, box: Box) -> NDArray[np.uint8]:
        number = self._numbers[level]
        downsample = self._downsamples[number]
        xy0 = (round_half_up(box.x * downsample), round_half_up(box.y * downsample))
        try:
            rgba = self._handle.read_region(xy0, number, (box.width, box.height))
        except openslide.OpenSlideError as error:
            raise CorruptSlide(
                f"{self._info.path}: the pixels at level {level}, x {box.x}, y {box.y} cannot be "
                f"decoded ({error}); copy the file again from its source"
            ) from error
        return _rgb_over(rgba, self._info.background)

    def _is_inexact(self, handle: openslide.OpenSlide, number: int) -> bool:
        tiff = self._source.tiff
        if tiff is None or self._info.vendor not in EXACT_VENDORS:
            return False
        # libtiff turns every tile by the orientation tag, and OpenSlide puts them where they were
        turned = tiff.main.orientation > 1
        return turned or not float(handle.level_downsamples[number]).is_integer()

    def _exact_levels(self) -> "TiffLevels | None":
        """None where tifffile does not know the file's kind of TIFF."""
        from wsi.readers.tifflevels import TiffLevels  # brings zarr, which takes 0.25 s to import

        with self._exact_lock:
            if not self._exact_tried and self._source.tiff is not None:
                self._exact_tried = True
                with suppress(UnsupportedSlide):
                    self._exact = TiffLevels(self._source, self._source.tiff, self._info.background)
            return self._exact

    def _release(self) -> None:
        self._handle.close()
        if self._exact is not None:
            self._exact.close()


def _stored_levels(handle: openslide.OpenSlide, source: Source) -> tuple[int, ...]:
    """OpenSlide's numbers of the levels that the file holds.

    Between those of an NDPI it makes others, decoded at a half, a quarter or an eighth inside the
    JPEG: they differ from area averages, and nobody asked for that.
    """
    everything = range(handle.level_count)
    if source.tiff is None or not source.tiff.is_ndpi:
        return tuple(everything)
    stored = {ifd.size for ifd in source.tiff.ifds}
    return tuple(n for n in everything if n == 0 or Size(*handle.level_dimensions[n]) in stored)


def _rgb_over(rgba: Image.Image, background: RGB) -> NDArray[np.uint8]:
    """The picture over the background, rounded once.

    openslide-python has divided each colour by alpha and cut it to a whole number, so multiplying
    by alpha and rounding up gives back the premultiplied colour that OpenSlide had.
    """
    rgb = np.array(rgba.convert("RGB"))
    if rgba.getchannel("A").getextrema() == (255, 255):
        return rgb
    alpha = np.asarray(rgba.getchannel("A"))
    clear = alpha != 255
    part = alpha[clear].astype(np.uint32)[:, None]
    premultiplied = (rgb[clear] * part + 254) // 255
    behind = (np.array(background, np.uint32) * (255 - part) + 127) // 255
    rgb[clear] = np.minimum(premultiplied + behind, 255).astype(np.uint8)
    return rgb


def _read_info(handle: openslide.OpenSlide, source: Source, mpp: Mpp | None) -> SlideInfo:
    properties = handle.properties
    size0 = Size(*handle.dimensions)
    check_slide_size(size0, source.path)
    check_level_count(handle.level_count, source.path)
    power = read_power(properties, "openslide.objective-power")
    resolution = resolve(_stated(properties, source), mpp, power)
    return SlideInfo(
        path=source.path,
        reader="openslide",
        vendor=properties.get("openslide.vendor", "unknown"),
        size=size0,
        levels=tuple(
            Level(size, downsample_from_sizes(size0, size), _tile(properties, number))
            for number in _stored_levels(handle, source)
            for size in [Size(*handle.level_dimensions[number])]
        ),
        mpp=resolution.mpp,
        mpp_source=resolution.source,
        objective_power=power,
        bounds=read_bounds(properties, "openslide.bounds", size0),
        background=_background(properties),
        icc_profile=_icc_profile(handle),
        warnings=resolution.warnings + orientation_warnings(source.tiff),
        properties={k: properties[k] for k in KEPT_PROPERTIES if k in properties},
        files=source.files,
    )


def _icc_profile(handle: openslide.OpenSlide) -> bytes | None:
    """As the file has it: every picture carries it along, one without pixels too."""
    profile: bytes | None = handle.read_region((0, 0), 0, (0, 0)).info.get("icc_profile")
    return profile


def _stated(properties: Mapping[str, str], source: Source) -> list[Stated]:
    """OpenSlide's own value first, unless it only repeats the tags of a plain TIFF."""
    from_tiff = stated_by_tiff(source.tiff.main, source.path) if source.tiff else []
    x, y = (read_number(properties, f"openslide.mpp-{axis}") for axis in "xy")
    if x is None or y is None or properties.get("openslide.vendor") == "generic-tiff":
        return from_tiff
    return [Stated("openslide.mpp-x", Mpp(x, y)), *from_tiff]


def _tile(properties: Mapping[str, str], level: int) -> Size:
    width, height = (
        read_number(properties, f"openslide.level[{level}].tile-{side}")
        for side in ("width", "height")
    )
    return Size(int(width), int(height)) if width and height else DEFAULT_TILE


def _background(properties: Mapping[str, str]) -> RGB:
    text = properties.get("openslide.background-color", "")
    try:
        red, green, blue = bytes.fromhex(text)
    except ValueError:
        return WHITE
    return red, green, blue


def _open_error(source: Source, error: openslide.OpenSlideError) -> WsiError:
    said = str(error).replace(f"Reading {source.entry}: ", "")
    unsupported = isinstance(error, openslide.OpenSlideUnsupportedFormatError)
    if unsupported or any(word in said for word in UNSUPPORTED_WORDS):
        return UnsupportedSlide(
            f"{source.path}: OpenSlide does not show this file ({said}); it reads bright-field RGB "
            f"of 8 bits; {RESAVE if source.tiff else 'export it as such, for example as TIFF'}"
        )
    return CorruptSlide(
        f"{source.path}: OpenSlide cannot open it ({said}); copy it again from its source"
    )
