"""What a TIFF must be to be read as a slide: limits, tiles inside the file, bright-field RGB."""

import re

import numpy as np

from wsi.errors import CorruptSlide, UnsupportedSlide
from wsi.geometry import Size
from wsi.readers.limits import (
    check_block,
    check_level_count,
    check_slide_size,
    check_untiled_size,
)
from wsi.readers.ome import read_ome
from wsi.readers.tifftags import Ifd, TiffHeader

__all__ = ["RESAVE", "check_tiff", "orientation_warnings"]

RESAVE = "save it as tiled 8-bit RGB, for example: vips tiffsave IN OUT.tif --tile --pyramid"

NONE, OLD_JPEG, JPEG = 1, 6, 7
CODECS = {
    NONE: "none",
    5: "LZW",
    JPEG: "JPEG",
    8: "Deflate",
    22610: "JPEG XR",
    32773: "PackBits",
    32946: "Deflate",
    33003: "JPEG 2000 (YCbCr)",
    33004: "JPEG 2000",
    33005: "JPEG 2000 (RGB)",
    34712: "JPEG 2000",
    34925: "LZMA",
    34934: "JPEG XR",
    50000: "ZSTD",
    50001: "WebP",
    50002: "JPEG XL",
}
"""TIFF compression codes that OpenSlide or imagecodecs decode."""

COLOURED = {JPEG, 33003, 33005, 34712, 50001}  # decoders that turn YCbCr into RGB themselves
GREY_INVERTED, GREY, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6


def check_tiff(header: TiffHeader, name: str) -> None:
    """SlideTooLarge, CorruptSlide or UnsupportedSlide, with the reason; else nothing."""
    for ifd in header.ifds:
        check_slide_size(ifd.size, name)
        if header.is_ndpi:
            rows = -(-ifd.size.height // max(1, ifd.restart_count))
            check_block(Size(ifd.size.width, rows), ifd.samples, name)
        else:
            _check_blocks(ifd, name)
        _check_place(ifd, header, name)
    _check_content(header.main, name)
    check_level_count(sum(ifd.tile is not None for ifd in header.ifds), name)


def orientation_warnings(header: TiffHeader | None) -> tuple[str, ...]:
    """Slides are shown as their rows are stored, whatever the orientation tag says."""
    if header is None or header.main.orientation <= 1:
        return ()
    return (
        f"the orientation tag ({header.main.orientation}) is ignored: "
        "the picture is shown as its rows are stored",
    )


def _check_blocks(ifd: Ifd, name: str) -> None:
    bytes_per_px = max(ifd.samples * -(-max(ifd.bits) // 8), 1)
    if ifd.tile is None:
        check_untiled_size(ifd.size, name)
        rows = min(ifd.rows_per_strip, ifd.size.height)
        if ifd.compression != NONE:  # uncompressed ones are in the file byte by byte: no bomb
            check_block(Size(ifd.size.width, rows), bytes_per_px, name)
        return
    if ifd.tile.width <= 0 or ifd.tile.height <= 0:
        raise _damaged(f"tiles of {ifd.tile.width} x {ifd.tile.height} px", name)
    check_block(ifd.tile, max(bytes_per_px, 4), name)  # OpenSlide decodes to four bytes a pixel


def _check_place(ifd: Ifd, header: TiffHeader, name: str) -> None:
    """Every tile that the size asks for is listed, and lies inside the file, where the header
    has its place already; else whoever reads it finds that the file ends before."""
    listed = len(ifd.offset_table)
    if listed < _count_blocks(ifd):
        raise _damaged(f"{listed} of {_count_blocks(ifd)} tiles are listed", name)
    if len(ifd.count_table) < listed and ifd.tile is not None:
        raise _damaged("tiles without a length", name)
    if not header.has_tables:
        return
    counts = ifd.counts if len(ifd.count_table) >= listed else np.zeros_like(ifd.offsets)
    ends = ifd.offsets + (0 if header.is_ndpi else counts[: len(ifd.offsets)])
    if ends.size and int(ends.max()) > header.size_bytes:
        raise CorruptSlide(
            f"{name}: the file ends at byte {header.size_bytes}, but its pixels reach to byte "
            f"{int(ends.max())}: it was cut short; copy it again from its source"
        )


def _count_blocks(ifd: Ifd) -> int:
    if ifd.tile is None:
        blocks = -(-ifd.size.height // max(1, min(ifd.rows_per_strip, ifd.size.height)))
    else:
        across, down = (-(-n // t) for n, t in zip(ifd.size, ifd.tile, strict=True))
        blocks = across * down
    return blocks * (ifd.samples if ifd.planar == 2 else 1)


def _check_content(main: Ifd, name: str) -> None:
    if main.compression not in CODECS:
        what = "old-style JPEG" if main.compression == OLD_JPEG else "unknown"
        raise _refused(f"its compression is {what} (code {main.compression})", name)
    _check_planes(main, name)
    if main.sample_format not in (1, 4) or set(main.bits) not in ({8}, {16}):
        kind = {2: "signed ", 3: "floating-point "}.get(main.sample_format, "")
        raise _refused(f"it has {main.bits[0]}-bit {kind}samples, not 8 or 16 bits", name)
    if main.samples > 4 or main.photometric not in (GREY_INVERTED, GREY, RGB, YCBCR):
        raise _refused(
            f"it has {main.samples} samples a pixel of colour model {main.photometric}, "
            "not grey or RGB",
            name,
        )
    if main.photometric == YCBCR and main.compression not in COLOURED:
        raise _refused("its YCbCr colours are stored without JPEG", name)


def _check_planes(main: Ifd, name: str) -> None:
    ome = read_ome(main.description, name)
    channels, planes = (ome.channels, ome.planes) if ome else _count_imagej(main.description)
    if channels > 1 or planes > 1:
        raise UnsupportedSlide(
            f"{name}: {channels} channels and {planes} planes: fluorescence or a stack, not a "
            "bright-field slide; save one RGB plane of it"
        )


def _count_imagej(description: str) -> tuple[int, int]:
    if not description.startswith("ImageJ="):
        return 1, 1
    count = {
        k: int(v) for k, v in re.findall(r"^(channels|slices|frames)=(\d{1,9})$", description, re.M)
    }
    return count.get("channels", 1), count.get("slices", 1) * count.get("frames", 1)


def _damaged(what: str, name: str) -> CorruptSlide:
    return CorruptSlide(f"{name}: damaged TIFF: {what}; copy it again from its source")


def _refused(why: str, name: str) -> UnsupportedSlide:
    return UnsupportedSlide(f"{name}: no reader here shows this TIFF, because {why}; {RESAVE}")
