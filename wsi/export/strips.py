"""Pictures a strip of rows at a time: what was drawn is packed into the file and forgotten.

A strip is uint8 (rows, width), or with 3 (RGB) or 4 (RGBA) channels.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsi.export.output import partial_file
from wsi.geometry import Size

__all__ = ["STRIP_PX", "Strips", "spans_of_rows", "write_png"]

STRIP_PX = 1 << 17
"""Pixels at once: 64 rows of a picture of 2,000 px, whose averages in floating point take 2 MB and
stay in the cache."""

Strips = Iterable[NDArray[np.uint8]]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR_TYPES = {1: 0, 3: 2, 4: 6}  # of a PNG, by channels: grey, RGB, RGBA
FILTER_UP = 2
PACKING = 1  # level of ISA-L: 2 takes longer and is hardly smaller


def spans_of_rows(size: Size) -> Iterator[tuple[int, int]]:
    """(first, stop) of the rows of each strip."""
    rows = max(1, STRIP_PX // size.width)
    for first in range(0, size.height, rows):
        yield first, min(first + rows, size.height)


def write_png(
    path: Path,
    size: Size,
    channels: int,
    strips: Strips,
    text: Mapping[str, str] | None = None,
) -> Path:
    """A PNG of the strips, which are `size` together, whole or not at all. `text`: its chunks.

    Each row as its difference to the one above, packed by ISA-L: an overlay of 14.7 MB in 25 ms and
    to 3.44 MB (zlib's run lengths 71 ms and 3.49 MB), a heatmap of 23 MB in 3 ms (zlib 38).
    """
    from isal import isal_zlib

    with partial_file(path) as partial, partial.open("wb") as file:
        head = struct.pack(">IIBBBBB", *size, 8, COLOUR_TYPES[channels], 0, 0, 0)
        file.write(SIGNATURE + _chunk(b"IHDR", head))
        for key, value in (text or {}).items():
            file.write(_text_chunk(key, value))
        packer = isal_zlib.compressobj(PACKING)
        for rows in _filtered(strips, size, channels):
            if packed := packer.compress(rows.data):
                file.write(_chunk(b"IDAT", packed))
        file.write(_chunk(b"IDAT", packer.flush()))
        file.write(_chunk(b"IEND", b""))
    return path


def _filtered(strips: Strips, size: Size, channels: int) -> Iterator[NDArray[np.uint8]]:
    """uint8 (rows, 1 + width * channels): the filter's number, and the differences."""
    above, done = np.zeros(size.width * channels, np.uint8), 0
    for strip in strips:
        flat = strip.reshape(len(strip), size.width * channels)
        rows = np.empty((len(flat), 1 + flat.shape[1]), np.uint8)
        rows[:, 0] = FILTER_UP
        np.subtract(flat[0], above, out=rows[0, 1:])
        np.subtract(flat[1:], flat[:-1], out=rows[1:, 1:])
        above, done = flat[-1].copy(), done + len(flat)
        yield rows
    if done != size.height:
        raise ValueError(f"strips of {done} rows for a picture of {size.height}")


def _text_chunk(key: str, value: str) -> bytes:
    """An iTXt chunk: uncompressed UTF-8, no language."""
    return _chunk(b"iTXt", key.encode("latin-1") + bytes(5) + value.encode())


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
