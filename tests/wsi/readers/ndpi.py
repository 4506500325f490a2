"""Files laid out as Hamamatsu's NDPI: OpenSlide takes them for one."""

import io
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

RESTART_BLOCKS = 8  # a part of a JPEG that decodes alone is 64 by 8 px
SHORT, LONG, RATIONAL, SLONG, FLOAT = 3, 4, 5, 9, 11
PER_CM = 20_000  # 0.5 um/px


def write_ndpi(path: Path, levels: Sequence[NDArray[np.uint8]], power: float = 20.0) -> list[bytes]:
    """Each level, (height, width, 3) with a width of whole parts, as one JPEG; returns the JPEGs.

    A classic TIFF, but for 8-byte offsets to directories and, after each directory, four bytes an
    entry with the high half of its value.
    """
    jpegs = [_jpeg(level) for level in levels]
    body = bytearray(b"II*\0" + bytes(8))
    pointer = 4  # where the offset of the next directory goes
    for number, (level, jpeg) in enumerate(zip(levels, jpegs, strict=True)):
        entries = _entries(body, level, jpeg, power / 2**number)
        struct.pack_into("<Q", body, pointer, len(body))
        body += struct.pack("<H", len(entries))
        body += b"".join(struct.pack("<HHII", *entry) for entry in entries)
        pointer = len(body)
        body += bytes(8 + 4 * len(entries))
    path.write_bytes(body)
    return jpegs


def _entries(
    body: bytearray, level: NDArray[np.uint8], jpeg: bytes, lens: float
) -> list[tuple[int, int, int, int]]:
    """Tag, kind, count and value or place of each, after the data that they point to."""
    jpeg_at, restarts = len(body), _restarts(jpeg)
    restarts_at = jpeg_at + len(jpeg)
    resolution_at = restarts_at + 4 * len(restarts)
    body += jpeg + struct.pack(f"<{len(restarts)}I", *restarts) + struct.pack("<II", PER_CM, 1)
    height, width = level.shape[:2]
    return [
        (256, LONG, 1, width), (257, LONG, 1, height), (258, SHORT, 1, 8), (259, SHORT, 1, 7),
        (262, SHORT, 1, 6), (273, LONG, 1, jpeg_at), (277, SHORT, 1, 3), (278, LONG, 1, height),
        (279, LONG, 1, len(jpeg)), (282, RATIONAL, 1, resolution_at),
        (283, RATIONAL, 1, resolution_at), (296, SHORT, 1, 3), (65420, LONG, 1, 1),
        (65421, FLOAT, 1, struct.unpack("<I", struct.pack("<f", lens))[0]),
        (65424, SLONG, 1, 0), (65426, LONG, len(restarts), restarts_at),
    ]  # fmt: skip


def _jpeg(level: NDArray[np.uint8]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(level).save(
        out, "jpeg", quality=90, subsampling=0, restart_marker_blocks=RESTART_BLOCKS
    )
    return out.getvalue()


def _restarts(jpeg: bytes) -> list[int]:
    """Where each part begins: after the scan's header, and after each restart marker."""
    scan = jpeg.index(b"\xff\xda") + 2
    found = [scan + int.from_bytes(jpeg[scan : scan + 2], "big")]
    at = found[0]
    while (at := jpeg.find(b"\xff", at)) >= 0:
        at += 2
        if 0xD0 <= jpeg[at - 1] <= 0xD7:
            found.append(at)
    return found
