"""Tiles that lie in several blocks, until all of them have been read. Blocks come in any order."""

import threading

import numpy as np
from numpy.typing import NDArray

from wsi.geometry import Box
from wsi.slide import RGB
from wsi.tiler.plan import Piece, TilePlan
from wsi.tiler.resampler import average_rows, resample_tile

__all__ = ["Cells", "Pixels", "Straddlers"]


class Straddlers:
    """Those that have begun. Safe from several threads."""

    def __init__(self, plan: TilePlan, background: RGB) -> None:
        self._plan, self._background = plan, background
        self._lock = threading.Lock()
        self._begun: dict[int, Cells | Pixels] = {}
        self._spare: dict[tuple[int, int], list[NDArray[np.uint8]]] = {}

    def room(self, height: int, width: int) -> NDArray[np.uint8]:
        """For a part in cells, of a tile that was finished: what threads allocate and free in
        turns leaves holes, which were a tenth of the memory on a large slide."""
        with self._lock:
            spare = self._spare.get((height, width))
            if spare:
                return spare.pop()
        return np.empty((height, width, 3), np.uint8)

    def finish(self, tile: "Cells | Pixels", out: NDArray[np.uint8]) -> None:
        """Writes the tile that add() gave, and has its memory used again."""
        tile.finish(out)
        if isinstance(tile, Cells):
            with self._lock:
                for _, part in tile.parts:
                    self._spare.setdefault((part.shape[0], part.shape[1]), []).append(part)

    def add(self, piece: Piece, pixels: NDArray[np.uint8]) -> "Cells | Pixels | None":
        """The tile, if this was its last piece. pixels: of the tile where the piece lies in cells,
        and then kept; else of the level, and copied."""
        with self._lock:
            tile = self._begun.get(piece.position)
            if tile is None:
                tile = self._begun[piece.position] = self._begin(piece)
        if not tile.add(piece.box, pixels):
            return None
        with self._lock:
            return self._begun.pop(piece.position)

    def _begin(self, piece: Piece) -> "Cells | Pixels":
        if piece.in_cells:
            return Cells(self._plan, piece.row, piece.column)
        return Pixels(self._plan, piece.row, piece.column, self._background)


class Cells:
    """One of which each pixel lies in one block: its parts."""

    def __init__(self, plan: TilePlan, row: int, column: int) -> None:
        self._box, self._cell = plan.box(row, column), plan.cell
        self.parts: list[tuple[Box, NDArray[np.uint8]]] = []
        self._lock = threading.Lock()
        self._missing = self._box.width * self._box.height

    def add(self, box: Box, pixels: NDArray[np.uint8]) -> bool:
        """Whether that was the last part."""
        with self._lock:
            self.parts.append((box, pixels))
            self._missing -= box.width * box.height
            return not self._missing

    def finish(self, out: NDArray[np.uint8]) -> None:
        for box, pixels in self.parts:
            top, left = (box.y - self._box.y) // self._cell, (box.x - self._box.x) // self._cell
            out[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels


class Pixels:
    """One that is averaged over pixels of several blocks.

    Where a row of blocks is complete and another follows, the rows of the tile that need no more
    are made, and of the pixels only those are kept that the next row needs: less memory than the
    pixels, and a row of straddlers is what the memory of a slide's width is.
    """

    def __init__(self, plan: TilePlan, row: int, column: int, background: RGB) -> None:
        self._plan, self._row, self._column = plan, row, column
        self._background = background
        self._box = plan.box(row, column)
        self._lock = threading.Lock()
        self._sheets: dict[int, tuple[NDArray[np.uint8], int]] = {}  # by top: pixels, px to come
        self._made: list[NDArray[np.uint8]] = []  # complete rows of the tile
        self._rows_made = 0
        self._pixels = np.empty((0, self._box.width, 3), np.uint8)
        self._top = self._box.y  # of those pixels, px of the level

    def add(self, box: Box, pixels: NDArray[np.uint8]) -> bool:
        """Whether that was the last piece."""
        with self._lock:
            sheet, to_come = self._sheets.get(box.y) or self._new_sheet(box)
            sheet[:, box.x - self._box.x : box.right - self._box.x] = pixels
            self._sheets[box.y] = sheet, to_come - box.width
            return self._take_sheets()

    def finish(self, out: NDArray[np.uint8]) -> None:
        if not self._made:
            resample_tile(self._plan, self._row, self._column, self._pixels, self._background, out)
            return
        made = self._rows_made
        np.concatenate(self._made, out=out[:made])
        out[made:] = self._average(slice(made, None))

    def _new_sheet(self, box: Box) -> tuple[NDArray[np.uint8], int]:
        return np.empty((box.height, self._box.width, 3), np.uint8), self._box.width

    def _take_sheets(self) -> bool:
        """Those that are complete and next; whether no more follow."""
        while (bottom := self._top + len(self._pixels)) < self._box.bottom:
            sheet, to_come = self._sheets.get(bottom) or (None, 0)
            if sheet is None or to_come:
                return False
            del self._sheets[bottom]
            self._pixels = np.concatenate([self._pixels, sheet]) if len(self._pixels) else sheet
            if bottom + len(sheet) < self._box.bottom:
                self._make_rows()
        return True

    def _make_rows(self) -> None:
        """Makes the rows of the tile that need no pixel further down, and lets theirs go."""
        weights = self._plan.rows.weights(self._row, self._plan.grid.tile_px)
        bottom = self._top + len(self._pixels) - self._box.y
        needed_until = np.maximum.reduceat(weights.indices, weights.indptr[:-1]) + 1
        complete = int((needed_until <= bottom).sum())
        if complete > self._rows_made:
            self._made.append(self._average(slice(self._rows_made, complete)))
            self._rows_made = complete
        still_needed = self._box.y + int(weights.indices[weights.indptr[complete] :].min())
        self._pixels = self._pixels[still_needed - self._top :].copy()
        self._top = still_needed

    def _average(self, rows: slice) -> NDArray[np.uint8]:
        return average_rows(
            self._plan,
            self._row,
            self._column,
            self._pixels,
            self._top - self._box.y,
            rows,
            self._background,
        )
