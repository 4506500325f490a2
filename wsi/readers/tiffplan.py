"""Which tiles of a picture a box touches, and which bytes of the file hold them. Arithmetic only.

Tiles that lie side by side in the picture mostly lie side by side in the file, so a few large reads
fetch many of them.
"""

from collections.abc import Sequence
from typing import NamedTuple

from wsi.geometry import Box
from wsi.readers.tifftags import Ifd, TiffHeader

__all__ = ["Block", "Run", "Span", "blocks_under", "plan_runs", "table_spans"]

MAX_GAP_BYTES = 32 << 10  # rather read over than read twice: a tile at the end of another row
MAX_RUN_BYTES = 8 << 20


class Block(NamedTuple):
    """A tile or strip; `box` is cut at the picture's lower edge for strips only."""

    number: int  # in the IFD's tables, of its first plane
    box: Box  # px of the picture; a tile may reach beyond it


class Span(NamedTuple):
    offset: int  # in the file, bytes
    size_bytes: int


class Run(NamedTuple):
    """One read of the file."""

    offset: int
    size_bytes: int
    parts: tuple[int, ...]  # places, in the list that was planned, of the spans that it holds


def blocks_under(ifd: Ifd, box: Box) -> list[Block]:
    """Row by row. `box` lies inside the picture and is not empty."""
    side = ifd.block
    across = -(-ifd.size.width // side.width)
    return [
        Block(row * across + column, _block_box(ifd, row, column))
        for row in range(box.y // side.height, -(-box.bottom // side.height))
        for column in range(box.x // side.width, -(-box.right // side.width))
    ]


def _block_box(ifd: Ifd, row: int, column: int) -> Box:
    width, height = ifd.block
    top = row * height
    rows = height if ifd.tile is not None else min(height, ifd.size.height - top)
    return Box(column * width, top, width, rows)


def plan_runs(
    spans: Sequence[Span],
    max_gap_bytes: int = MAX_GAP_BYTES,
    max_run_bytes: int = MAX_RUN_BYTES,
) -> list[Run]:
    """Reads in the order of the file that hold all spans, which may overlap or be the same."""
    runs: list[Run] = []
    for part in sorted(range(len(spans)), key=lambda i: spans[i]):
        offset, size_bytes = spans[part]
        if runs:
            last = runs[-1]
            end = max(last.offset + last.size_bytes, offset + size_bytes)
            gap = offset - (last.offset + last.size_bytes)
            if gap <= max_gap_bytes and end - last.offset <= max_run_bytes:
                runs[-1] = Run(last.offset, end - last.offset, (*last.parts, part))
                continue
        runs.append(Run(offset, size_bytes, (part,)))
    return runs


def table_spans(header: TiffHeader) -> list[Span]:
    """Where the tables of the tiles lie that are no part of a directory."""
    tables = [table for ifd in header.ifds for table in (ifd.offset_table, ifd.count_table)]
    tags = [table.tag for table in tables if table.tag is not None]
    return [Span(tag.offset, tag.size_bytes) for tag in tags if tag.inline is None]
