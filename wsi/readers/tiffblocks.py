"""Boxes of a TIFF's pictures out of its tiles or strips: few reads of the file, one decode a tile.

Tiles that a box holds whole are decoded into it. Those that it cuts are kept for a while, because
the box next to it, which another thread may read at this moment, needs the rest of them.
"""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi.geometry import Box, Size
from wsi.readers.decoded import DecodedTiles
from wsi.readers.limits import MAX_BLOCK_BYTES
from wsi.readers.samples import rgb_from_samples
from wsi.readers.stored import StoredFile
from wsi.readers.tiffdecode import block_decoder
from wsi.readers.tiffplan import Part, Span, parts_under
from wsi.readers.tifftags import Ifd
from wsi.resample import average_cells
from wsi.slide import RGB

__all__ = ["Picture", "TiffBlocks"]

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
        self._pictures: dict[int, Picture] = {}  # by place

    def read(self, ifd: Ifd, box: Box) -> NDArray[np.uint8]:
        """RGB of a box of at least one pixel inside the picture, in an array of its own.

        Tiles that are not stored were not scanned: background. Raises OSError, ValueError, or what
        a codec raises.
        """
        out = np.empty((box.height, box.width, 3), np.uint8)
        self.read_into(ifd, box, out)
        return out

    def read_into(self, ifd: Ifd, box: Box, out: NDArray[np.uint8]) -> None:
        """The same into `out`, any view of uint8 (rows, columns, 3) whose sides divide the box's:
        each cell of pixels is averaged, tile by tile while the tile is in the cache."""
        cell = Size(box.width // out.shape[1], box.height // out.shape[0])
        if not _fits_tiles(ifd, box, cell):
            average_cells(self.read(ifd, box), out)
            return
        picture = self._picture_of(ifd)
        numbers, parts = parts_under(ifd, box, cell)
        wanted: list[tuple[int, Part]] = []
        spans: list[Span] = []
        for number, part, found in zip(
            numbers.tolist(), parts, _find_spans(ifd, numbers), strict=True
        ):
            tile = self._decoded.find((ifd.place, number))
            if tile is not None:
                self._place(picture, tile, part, out)
            elif found:
                wanted.append((number, part))
                spans += found
            else:
                out[part.target] = self._background
        stored, planes = self._file.read_spans(spans), picture.planes
        for i, (number, part) in enumerate(wanted):
            tile = self._decode_for(picture, number, part, stored[i * planes : (i + 1) * planes])
            self._place(picture, tile, part, out)

    def close(self) -> None:
        self._decoded.clear()
        self._file.close()

    def _picture_of(self, ifd: Ifd) -> "Picture":
        picture = self._pictures.get(ifd.place)
        if picture is None:
            picture = self._pictures[ifd.place] = Picture(ifd)
        return picture

    def _decode_for(
        self, picture: "Picture", number: int, part: Part, stored: Sequence[memoryview]
    ) -> NDArray[Any]:
        """Samples of the tile: valid until this thread decodes the next."""
        if part.is_whole:
            return picture.decode(number, stored, self._scratch_of(picture, number))
        key = (picture.ifd.place, number)
        return self._decoded.get(key, lambda: picture.decode(number, stored))

    def _scratch_of(self, picture: "Picture", number: int) -> NDArray[np.uint8]:
        """New memory for each tile would cost more than to copy it out of this."""
        shape = (picture.rows(number), picture.width, picture.ifd.samples)
        scratch: NDArray[np.uint8] | None = getattr(self._scratch, "pixels", None)
        if scratch is None or scratch.shape != shape:
            scratch = self._scratch.pixels = _empty_off_lines(shape)
        return scratch

    def _place(
        self, picture: "Picture", tile: NDArray[Any], part: Part, out: NDArray[np.uint8]
    ) -> None:
        samples = tile[part.source]
        if not picture.is_rgb:
            inverted = picture.ifd.photometric == MIN_IS_WHITE
            samples = rgb_from_samples(samples, self._background, inverted=inverted)
        average_cells(samples, out[part.target])


class Picture:
    """What all tiles of a picture have in common, found out once: threads take turns in Python."""

    def __init__(self, ifd: Ifd) -> None:
        self.ifd, self.width, self._height = ifd, ifd.block.width, ifd.block.height
        self.planes = _planes(ifd)
        self.is_rgb = ifd.samples == 3 and max(ifd.bits) == 8 and ifd.photometric != MIN_IS_WHITE
        self._decode = block_decoder(ifd)

    def rows(self, number: int) -> int:
        """The last strip of a picture may have fewer."""
        if self.ifd.tile is not None:
            return self._height
        return min(self._height, self.ifd.size.height - number * self._height)

    def decode(
        self, number: int, stored: Sequence[memoryview], scratch: NDArray[np.uint8] | None = None
    ) -> NDArray[Any]:
        """uint8 or uint16 (height, width, samples) of all planes together."""
        rows = self.rows(number)
        if self.planes == 1:
            return self._decode(stored[0], rows, scratch)
        return np.concatenate([self._decode(plane, rows) for plane in stored], axis=-1)


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


def _find_spans(ifd: Ifd, numbers: NDArray[np.int64]) -> list[list[Span]]:
    """Of each tile, one a plane: the table lists all tiles of one, then those of the next. Empty
    where any of them is not stored."""
    planes = _planes(ifd)
    places = numbers[:, None] + np.arange(planes) * (len(ifd.offsets) // planes)
    offsets, counts = ifd.offsets[places], ifd.counts[places]
    largest = int(counts.max(where=offsets != 0, initial=0))
    if largest > MOST_STORED_BYTES:
        raise ValueError(f"a tile of {largest >> 20} MiB")
    return [
        list(map(Span, *tile)) if all(tile[0]) and all(tile[1]) else []
        for tile in zip(offsets.tolist(), counts.tolist(), strict=True)
    ]


def _fits_tiles(ifd: Ifd, box: Box, cell: Size) -> bool:
    """No cell lies in two tiles."""
    width, height = ifd.block
    return not (
        box.x % cell.width or box.y % cell.height or width % cell.width or height % cell.height
    )
