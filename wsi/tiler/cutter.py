"""A block of native tiles to tiles in their batches."""

import threading

import numpy as np
from numpy.typing import NDArray

from wsi.geometry import Box
from wsi.readers.base import read_shrunk
from wsi.resample import average_cells
from wsi.slide import Slide
from wsi.tiler.batches import Batches
from wsi.tiler.plan import Block, Piece, TilePlan
from wsi.tiler.resampler import resample_tile
from wsi.tiler.straddler import Straddlers

__all__ = ["Cutter"]


class Cutter:
    """Safe from several threads, each of which reads into memory of its own, again and again."""

    def __init__(self, slide: Slide, plan: TilePlan, batches: Batches) -> None:
        self._slide, self._plan, self._batches = slide, plan, batches
        self._straddlers = Straddlers(plan, slide.info.background)
        self._memory = threading.local()

    def cut(self, block: Block) -> None:
        """Reads the block, and writes what it has of each tile. Raises CorruptSlide."""
        pixels, frame = self._read(block)
        for piece in self._plan.pieces(block):
            view = _part(pixels, frame, piece.box, block.cell)
            if piece.tiles > 1:
                self._place_run(piece, view)
            elif piece.in_cells:
                self._place_cells(piece, view)
            else:
                self._place_pixels(piece, view)

    def _place_run(self, piece: Piece, view: NDArray[np.uint8]) -> None:
        """Whole tiles side by side, which are shrunk already: one copy for all of them."""
        side = self._plan.grid.tile_px
        tiles = view.reshape(side, piece.tiles, side, 3).swapaxes(0, 1)
        start = 0
        for rooms in self._batches.rooms_for(piece.position, piece.tiles):
            rooms[...] = tiles[start : start + len(rooms)]
            start += len(rooms)

    def _place_cells(self, piece: Piece, view: NDArray[np.uint8]) -> None:
        cell, box = self._plan.cell, self._plan.box(piece.row, piece.column)
        if piece.in_row:  # what is missing is in the next block, and its room soon needed
            average_cells(view, _part(self._batches.room_for(piece.position), box, piece.box, cell))
            return
        part = self._straddlers.room(piece.box.height // cell, piece.box.width // cell)
        average_cells(view, part)
        self._straddle(piece, part)

    def _place_pixels(self, piece: Piece, view: NDArray[np.uint8]) -> None:
        if not piece.is_all:
            self._straddle(piece, view)
            return
        room, background = self._batches.room_for(piece.position), self._slide.info.background
        resample_tile(self._plan, piece.row, piece.column, view, background, room)

    def _straddle(self, piece: Piece, pixels: NDArray[np.uint8]) -> None:
        tile = self._straddlers.add(piece, pixels)
        if tile is not None:
            self._straddlers.finish(tile, self._batches.room_for(piece.position))

    def _read(self, block: Block) -> tuple[NDArray[np.uint8], Box]:
        """The needed pixels, or cells, and where they lie; between them is what was there before.
        Valid until this thread reads the next block."""
        left, top = min(box.x for box in block.reads), min(box.y for box in block.reads)
        right = max(box.right for box in block.reads)
        bottom = max(box.bottom for box in block.reads)
        frame = Box(left, top, right - left, bottom - top)
        cell = block.cell
        pixels = self._room(frame.height // cell, frame.width // cell)
        for box in block.reads:
            # of a level's last tiles, pixels that fill no cell are in no tile of this block
            whole = Box(box.x, box.y, box.width // cell * cell, box.height // cell * cell)
            read_shrunk(self._slide, self._plan.level, whole, _part(pixels, frame, whole, cell))
        return pixels, frame

    def _room(self, height: int, width: int) -> NDArray[np.uint8]:
        """New memory for each block would cost a tenth of the time to decode it."""
        needed = height * width * 3
        memory: NDArray[np.uint8] | None = getattr(self._memory, "bytes", None)
        if memory is None or len(memory) < needed:
            memory = self._memory.bytes = np.empty(needed, np.uint8)
        return memory[:needed].reshape(height, width, 3)


def _part(pixels: NDArray[np.uint8], frame: Box, part: Box, cell: int) -> NDArray[np.uint8]:
    """The view of `part` in pixels that show `frame` in cells of `cell` px."""
    top, left = (part.y - frame.y) // cell, (part.x - frame.x) // cell
    return pixels[top : top + part.height // cell, left : left + part.width // cell]
