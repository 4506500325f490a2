"""The JPEG of one TIFF tile, made whole: with the tables that all tiles share, and without hints.

A TIFF says by its photometric tag which colours its JPEG tiles have. A decoder does not see that
tag: it guesses from markers that the tile has or has not, and raw RGB tiles of Aperio files have
none. So all such markers are taken out and the right one is put in.
"""

from collections.abc import Iterator
from typing import NamedTuple

from wsi.geometry import Size

__all__ = ["JpegFrame", "JpegHeads"]

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
RGB_MARK = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"  # Adobe's APP14: no transform
YCBCR_MARK = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x01"
SOS = 0xDA
HINTS = (0xE0, 0xEE)  # APP0 of JFIF, APP14 of Adobe
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a length
MAX_SEGMENTS = 256
YCBCR = 6


class JpegFrame(NamedTuple):
    size: Size
    bits: int
    components: int


class _Head(NamedTuple):
    """What comes before the scan."""

    stored: bytes  # as the tile has it
    whole: bytes  # as a decoder needs it
    frame: JpegFrame


class JpegHeads:
    """Of one picture's tiles, which mostly have the same: parsing each costs 5 % of decoding."""

    def __init__(self, tables: bytes, photometric: int) -> None:
        mark = YCBCR_MARK if photometric == YCBCR else RGB_MARK
        kept = [tables[at:end] for code, at, end in _segments(tables) if code not in HINTS]
        self._shared = b"".join((SOI, mark, *kept))
        self._last: _Head | None = None

    def whole(self, data: bytes | memoryview) -> tuple[bytes, JpegFrame]:
        """A JPEG that can be decoded alone, and what its frame header says. ValueError where it is
        none."""
        last = self._last
        if last is None or bytes(data[: len(last.stored)]) != last.stored:
            last = self._last = _read_head(data, self._shared)
        return b"".join((last.whole, data[len(last.stored) :])), last.frame


def _read_head(data: bytes | memoryview, shared: bytes) -> _Head:
    kept, frame = [shared], None
    for code, at, end in _segments(data):
        if code == SOS:
            if frame is None:
                raise ValueError("a JPEG scan without a frame header")
            return _Head(bytes(data[:end]), b"".join((*kept, data[at:end])), frame)
        if code in FRAMES and frame is None:
            frame = _read_frame(data[at + 4 : end])
        if code not in HINTS:
            kept.append(bytes(data[at:end]))
    raise ValueError("a JPEG without a scan")


def _read_frame(body: bytes | memoryview) -> JpegFrame:
    if len(body) < 6:
        raise ValueError("a JPEG frame header that is cut short")
    height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    return JpegFrame(Size(width, height), body[0], body[5])


def _segments(data: bytes | memoryview) -> Iterator[tuple[int, int, int]]:
    """Code, start and end of each segment, up to the scan or the end of the picture."""
    if not data:
        return
    if bytes(data[:2]) != SOI:
        raise ValueError("no JPEG")
    at = 2
    for _ in range(MAX_SEGMENTS):
        while bytes(data[at : at + 2]) == b"\xff\xff":  # a marker may be padded
            at += 1
        if bytes(data[at : at + 2]) == EOI:
            return
        code, end = data[at + 1] if at + 4 <= len(data) else 0, at + 2
        if code not in BARE:
            end += int.from_bytes(data[at + 2 : at + 4], "big")
        if not code or data[at] != 0xFF or end > len(data):
            raise ValueError("a JPEG whose head is damaged or cut short")
        if code not in BARE:
            yield code, at, end
        at = end
    raise ValueError(f"more than {MAX_SEGMENTS} segments in one JPEG")
