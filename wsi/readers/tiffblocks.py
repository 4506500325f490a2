"""Boxes of a TIFF's pictures out of its tiles or strips: few reads of the file, one decode a tile.

Tiles that a box holds whole are decoded into it. Those that it cuts are kept for a while, because
the box next to it, which another thread may read at this moment, needs the rest of them.
"""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi.geometry import Box
from wsi.readers.decoded import DecodedTiles
from wsi.readers.limits import MAX_BLOCK_BYTES
from wsi.readers.samples import rgb_from_samples
from wsi.readers.stored import StoredFile
from wsi.readers.tiffdecode import decode_block
from wsi.readers.tiffplan import Block, Span, blocks_under
from wsi.readers.tifftags import Ifd
from wsi.slide import RGB

__all__ = ["TiffBlocks"]

KEPT_BYTES = 32 << 20  # a row of 160 tiles of 256 px: 40,000 px of a slide's width
MOST_STORED_BYTES = 2 * MAX_BLOCK_BYTES  # of one tile: what does not shrink hardly grows
PLANAR, MIN_IS_WHITE = 2, 0


class TiffBlocks:
    """Reading is safe from several threads. The file is closed with this.

    Each thread decodes what it asks for: whoever wants more than one core reads from several.
    """

    def __init__(self, file: StoredFile, background: RGB) -> None:
        self._file = file
        self._background = background
        self._decoded = DecodedTiles(KEPT_BYTES)
        self._scratch = threading.local()

    def read(self, ifd: Ifd, box: Box) -> NDArray[np.uint8]:
        """RGB of a box of at least one pixel inside the picture, in an array of its own.

        Tiles that are not stored were not scanned: background. Raises OSError, ValueError, or what
        a codec raises.
        """
        out = np.empty((box.height, box.width, 3), np.uint8)
        wanted: list[Block] = []
        spans: list[Span] = []
        for block in blocks_under(ifd, box):
            tile = self._decoded.find((ifd.place, block.number))
            if tile is not None:
                self._place(ifd, block, tile, out, box)
            elif found := _find_spans(ifd, block):
                wanted.append(block)
                spans += found
            else:
                _part(out, box, block.box.intersection(box))[...] = self._background
        stored, planes = self._file.read_spans(spans), _planes(ifd)
        for i, block in enumerate(wanted):
            tile = self._decode_for(ifd, block, stored[i * planes : (i + 1) * planes], box)
            self._place(ifd, block, tile, out, box)
        return out

    def close(self) -> None:
        self._decoded.clear()
        self._file.close()

    def _decode_for(
        self, ifd: Ifd, block: Block, stored: Sequence[memoryview], box: Box
    ) -> NDArray[Any]:
        """Samples of the block: valid until this thread decodes the next."""
        right, bottom = min(block.box.right, ifd.size.width), min(block.box.bottom, ifd.size.height)
        is_cut = block.box.x < box.x or block.box.y < box.y or right > box.right
        if not is_cut and bottom <= box.bottom:
            return _decode(ifd, block, stored, self._scratch_of(ifd, block))
        key = (ifd.place, block.number)
        return self._decoded.get(key, lambda: _decode(ifd, block, stored, None))

    def _scratch_of(self, ifd: Ifd, block: Block) -> NDArray[np.uint8]:
        """New memory for each tile would cost more than to copy it out of this."""
        shape = (block.box.height, block.box.width, ifd.samples)
        scratch: NDArray[np.uint8] | None = getattr(self._scratch, "pixels", None)
        if scratch is None or scratch.shape != shape:
            scratch = self._scratch.pixels = _empty_off_lines(shape)
        return scratch

    def _place(
        self, ifd: Ifd, block: Block, tile: NDArray[Any], out: NDArray[np.uint8], box: Box
    ) -> None:
        inside = block.box.intersection(box)
        samples = _part(tile, block.box, inside)
        inverted = ifd.photometric == MIN_IS_WHITE
        if samples.dtype != np.uint8 or samples.shape[2] != 3 or inverted:
            samples = rgb_from_samples(samples, self._background, inverted=inverted)
        _part(out, box, inside)[...] = samples


def _empty_off_lines(shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Memory that begins 16 bytes off a multiple of 32.

    Where it begins on one, libjpeg-turbo writes past the caches, and whoever reads the tile next
    waits for main memory: decoding and copying 256 px take 164 us then, else 140.
    """
    size = int(np.prod(shape))
    memory = np.empty(size + 48, np.uint8)
    start = (16 - memory.ctypes.data) % 32
    return memory[start : start + size].reshape(shape)


def _planes(ifd: Ifd) -> int:
    return ifd.samples if ifd.planar == PLANAR else 1


def _find_spans(ifd: Ifd, block: Block) -> list[Span]:
    """One a plane: the table lists all blocks of one, then those of the next. Empty where any of
    them is not stored."""
    planes = _planes(ifd)
    per_plane = len(ifd.offsets) // planes
    places = [block.number + plane * per_plane for plane in range(planes)]
    spans = [Span(int(ifd.offsets[place]), int(ifd.counts[place])) for place in places]
    if max(span.size_bytes for span in spans) > MOST_STORED_BYTES:
        raise ValueError(f"a tile of {max(span.size_bytes for span in spans) >> 20} MiB")
    return spans if all(span.offset and span.size_bytes for span in spans) else []


def _decode(
    ifd: Ifd, block: Block, stored: Sequence[memoryview], scratch: NDArray[np.uint8] | None
) -> NDArray[Any]:
    """uint8 or uint16 (height, width, samples) of all planes together."""
    rows = block.box.height
    if len(stored) == 1:
        return decode_block(ifd, stored[0], rows, scratch)
    return np.concatenate([decode_block(ifd, plane, rows) for plane in stored], axis=-1)


def _part(pixels: NDArray[Any], frame: Box, part: Box) -> NDArray[Any]:
    """The view of `part` in pixels that lie at `frame`."""
    top, left = part.y - frame.y, part.x - frame.x
    return pixels[top : top + part.height, left : left + part.width]
