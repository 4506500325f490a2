"""Plain pictures: PNG, JPEG, BMP and TIFF without tiles, decoded whole, with coarser levels."""

import threading
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from wsi.errors import CorruptSlide, UnsupportedSlide
from wsi.geometry import Box, Mpp, Scale, Size
from wsi.readers.base import DEFAULT_TILE, BaseSlide
from wsi.readers.gate import PICTURES, Source
from wsi.readers.limits import check_untiled_size
from wsi.readers.picture import open_picture
from wsi.readers.resolution import resolve, stated_by_tiff
from wsi.readers.samples import rgb_from_samples
from wsi.readers.tiffgate import orientation_warnings
from wsi.readers.tifftags import TiffHeader
from wsi.slide import WHITE, Level, SlideInfo

__all__ = ["ImageSlide", "open_image"]

COARSEST_PX = 1024
"""Levels are halved until the longer side is this or less, so that an overview costs little."""

EXIF_ORIENTATION = 274


class ImageSlide(BaseSlide):
    """One picture in memory, decoded by the first read; level n averages 2^n x 2^n pixels.

    A coarser level has floor(size / 2) pixels of the one before; an odd last row or column is left
    out of it, so that its pixels stay exactly on those of level 0.
    """

    def __init__(self, info: SlideInfo, source: Source) -> None:
        super().__init__(info)
        self._source = source
        self._lock = threading.Lock()
        self._pixels: list[NDArray[np.uint8]] = []

    def _read_inside(self, level: int, box: Box) -> NDArray[np.uint8]:
        with self._lock:
            if not self._pixels:
                self._pixels.append(_decode(self._source, self._info))
            while len(self._pixels) <= level:
                self._pixels.append(_halve(self._pixels[-1]))
        return self._pixels[level][box.y : box.bottom, box.x : box.right].copy()

    def _release(self) -> None:
        self._pixels = []


def open_image(source: Source, mpp: Mpp | None = None) -> ImageSlide:
    """UnsupportedSlide where it is no picture. Dots per inch of PNG, JPEG and BMP do not count."""
    if source.kind == "tiff":
        return ImageSlide(_tiff_info(source, mpp), source)
    if source.kind not in PICTURES:
        raise UnsupportedSlide(
            f"{source.path}: neither PNG, JPEG, BMP nor TIFF; open it with reader='auto'"
        )
    return ImageSlide(_picture_info(source, mpp), source)


def _tiff_info(source: Source, mpp: Mpp | None) -> SlideInfo:
    if source.tiff is None:
        raise UnsupportedSlide(f"{source.path}: no TIFF header was read")
    main = source.tiff.main
    check_untiled_size(main.size, source.path)
    resolution = resolve(stated_by_tiff(main, source.path), mpp, None)
    return SlideInfo(
        path=source.path,
        reader="image",
        vendor="tiff",
        size=main.size,
        levels=_halved_levels(main.size),
        mpp=resolution.mpp,
        mpp_source=resolution.source,
        icc_profile=main.icc_profile,
        warnings=resolution.warnings + orientation_warnings(source.tiff),
        files=source.files,
    )


def _picture_info(source: Source, mpp: Mpp | None) -> SlideInfo:
    with open_picture(source.entry, source.kind, source.path) as picture:
        size = Size(*picture.size)
        profile = picture.info.get("icc_profile")
        orientation = _exif_orientation(picture.info.get("exif"))
    ignored = f"the orientation tag ({orientation}) is ignored: the picture is shown as stored"
    return SlideInfo(
        path=source.path,
        reader="image",
        vendor=source.kind,
        size=size,
        levels=_halved_levels(size),
        mpp=mpp,
        mpp_source="caller" if mpp else None,
        icc_profile=profile or None,
        warnings=() if orientation in (0, 1) else (ignored,),
        files=source.files,
    )


def _exif_orientation(exif: bytes | None) -> int:
    """1 where there is none. `getexif` of a PNG would decode all its pixels to look behind them."""
    from PIL import Image

    if not exif:
        return 1
    parsed = Image.Exif()
    try:
        parsed.load(exif)
        return int(parsed.get(EXIF_ORIENTATION, 1))
    except Exception:  # whatever a damaged EXIF block does to Pillow, the picture is not the worse
        return 1


def _halved_levels(size0: Size) -> tuple[Level, ...]:
    levels = [Level(size0, Scale(1.0, 1.0), DEFAULT_TILE)]
    while max(levels[-1].size) > COARSEST_PX and min(levels[-1].size) > 1:
        factor = float(2 ** len(levels))
        size = Size(levels[-1].size.width // 2, levels[-1].size.height // 2)
        levels.append(Level(size, Scale(factor, factor), DEFAULT_TILE))
    return tuple(levels)


def _halve(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Means of 2 x 2 pixels, halves rounded up; an odd last row or column is left out."""
    import cv2  # 30 times as fast as NumPy at this, and equal to the bit

    height, width = pixels.shape[0] // 2, pixels.shape[1] // 2
    even = pixels[: 2 * height, : 2 * width]
    return cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA).astype(
        np.uint8, copy=False
    )


def _decode(source: Source, info: SlideInfo) -> NDArray[np.uint8]:
    try:
        if source.kind == "tiff":
            return _decode_tiff(source)
        return _decode_picture(source)
    except Exception as error:  # decoders raise what the bytes make them raise
        raise CorruptSlide(
            f"{info.path}: the picture cannot be decoded ({error}); copy it again from its source"
        ) from error


def _decode_tiff(source: Source) -> NDArray[np.uint8]:
    import tifffile

    header = cast(TiffHeader, source.tiff)
    with tifffile.TiffFile(source.entry) as file:
        page = file.pages[header.main_index]
        samples = page.asarray(maxworkers=1)
        axes = page.axes
    if axes == "YX":
        samples = samples[..., None]
    elif axes == "SYX":
        samples = np.moveaxis(samples, 0, -1)
    return rgb_from_samples(samples, WHITE, inverted=header.main.photometric == 0)


def _decode_picture(source: Source) -> NDArray[np.uint8]:
    with open_picture(source.entry, source.kind, source.path) as picture:
        if source.kind == "png" and _has_16_bits(source.entry):
            import imagecodecs

            samples = imagecodecs.png_decode(source.entry.read_bytes())
            return rgb_from_samples(samples.reshape(*samples.shape[:2], -1), WHITE)
        if picture.has_transparency_data:
            return rgb_from_samples(np.asarray(picture.convert("RGBA")), WHITE)
        return np.array(picture.convert("RGB"))


def _has_16_bits(path: Path) -> bool:
    """Pillow cuts a PNG of 16-bit colours to 8; byte 24 of every PNG is its bit depth."""
    with path.open("rb") as stream:
        return stream.read(25)[-1] == 16
