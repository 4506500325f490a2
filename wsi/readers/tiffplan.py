"""Which tiles of a picture a box touches, and which bytes of the file hold them. Arithmetic only.

Tiles that lie side by side in the picture mostly lie side by side in the file, so a few large reads
fetch many of them.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsi.geometry import Box, Size
from wsi.readers.tifftags import Ifd, TiffHeader

__all__ = ["Part", "Run", "Span", "parts_under", "plan_runs", "table_spans"]

MAX_GAP_BYTES = 32 << 10  # rather read over than read twice: a tile at the end of another row
MAX_RUN_BYTES = 8 << 20


Slices = tuple[slice, slice]


class Part(NamedTuple):
    """What a tile or strip gives to a box."""

    row: int  # of the tile, counted from the box's first
    column: int
    source: Slices  # rows and columns of the tile
    target: Slices  # of what the box is read into
    is_whole: bool  # all of the tile that is in the picture


class Span(NamedTuple):
    offset: int  # in the file, bytes
    size_bytes: int


class Run(NamedTuple):
    """One read of the file."""

    offset: int
    size_bytes: int
    parts: tuple[int, ...]  # places, in the list that was planned, of the spans that it holds


def parts_under(ifd: Ifd, box: Box, cell: Size) -> tuple[NDArray[np.int64], tuple[Part, ...]]:
    """Each tile's number in the table of its plane, and its part, row by row.

    `box` lies inside the picture and is not empty. It is read into an array that has one place for
    each `cell` of pixels; no cell lies in two tiles.
    """
    side = ifd.block
    across = -(-ifd.size.width // side.width)
    first = box.y // side.height * across + box.x // side.width
    alike = Box(box.x % side.width, box.y % side.height, box.width, box.height)
    ends = box.right == ifd.size.width, box.bottom == ifd.size.height
    numbers, parts = _parts_of(alike, side, cell, ends, across)
    return first + numbers, parts


@lru_cache(maxsize=1024)
def _parts_of(
    box: Box, side: Size, cell: Size, ends: tuple[bool, bool], across: int
) -> tuple[NDArray[np.int64], tuple[Part, ...]]:
    """Of a box that begins in the first tile. ends: with the picture, on the right and below."""
    parts = tuple(
        Part(row, column, (y.source, x.source), (y.target, x.target), y.is_whole and x.is_whole)
        for row, y in enumerate(_stretches(box.y, box.bottom, side.height, cell.height, ends[1]))
        for column, x in enumerate(_stretches(box.x, box.right, side.width, cell.width, ends[0]))
    )
    return np.array([part.row * across + part.column for part in parts], np.int64), parts


class _Stretch(NamedTuple):
    """A Part along one axis."""

    source: slice
    target: slice
    is_whole: bool


def _stretches(start: int, stop: int, side: int, cell: int, at_end: bool) -> Iterator[_Stretch]:
    """Of the tiles from 0 on that start to stop touches."""
    for near in range(0, stop, side):
        first, last = max(near, start), min(near + side, stop)
        yield _Stretch(
            slice(first - near, last - near),
            slice((first - start) // cell, (last - start) // cell),
            first == near and (last == near + side or (at_end and last == stop)),
        )


def plan_runs(
    spans: Sequence[Span],
    max_gap_bytes: int = MAX_GAP_BYTES,
    max_run_bytes: int = MAX_RUN_BYTES,
) -> list[Run]:
    """Reads in the order of the file that hold all spans, which may overlap or be the same."""
    runs: list[Run] = []
    start = end = 0
    parts: list[int] = []
    for part in sorted(range(len(spans)), key=spans.__getitem__):
        offset, size_bytes = spans[part]
        stop = max(end, offset + size_bytes)
        if parts and (offset - end > max_gap_bytes or stop - start > max_run_bytes):
            runs.append(Run(start, end - start, tuple(parts)))
            parts = []
        if not parts:
            start, stop = offset, offset + size_bytes
        end = stop
        parts.append(part)
    if parts:
        runs.append(Run(start, end - start, tuple(parts)))
    return runs


def table_spans(header: TiffHeader) -> list[Span]:
    """Where the tables of the tiles lie that are no part of a directory."""
    tables = [table for ifd in header.ifds for table in (ifd.offset_table, ifd.count_table)]
    tags = [table.tag for table in tables if table.tag is not None]
    return [Span(tag.offset, tag.size_bytes) for tag in tags if tag.inline is None]
