"""The levels of one TIFF, pixel for pixel: tiffslide says what they are, tifffile's codecs decode.

tiffslide itself reads through zarr, whose tasks outlive a failed read and then complain about the
closed file. Only slides that it puts together of several pictures (SCN) are read that way.
"""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, BinaryIO, cast

import numpy as np
import tiffslide
from numpy.typing import NDArray

from wsi.errors import CorruptSlide, UnsupportedSlide
from wsi.geometry import Box, Size
from wsi.readers.gate import Source
from wsi.readers.samples import rgb_from_samples
from wsi.readers.tiffgate import RESAVE
from wsi.readers.tifftags import Ifd, TiffHeader
from wsi.slide import RGB, WHITE

__all__ = ["TiffLevels"]

APERIO_YCBCR = 33003  # tifffile leaves these JPEG 2000 tiles in YCbCr: false colours
MIN_IS_WHITE = 0


class _LevelFrame(tiffslide.TiffSlide):
    """tiffslide with positions in the frame of the level, by the hook that it offers for that."""

    def _read_region_loc_transform(self, location: tuple[int, int], level: int) -> tuple[int, int]:
        return location


class TiffLevels:
    """Reading is safe from several threads: they take turns at the file, and decode together.

    `stream` is of a remote file, and is closed with this. Raises UnsupportedSlide.
    """

    def __init__(
        self,
        source: Source,
        header: TiffHeader,
        background: RGB = WHITE,
        stream: BinaryIO | None = None,
    ) -> None:
        self._path = source.path
        self._background = background
        self._stream = stream
        self._lock = threading.Lock()
        self.header = header
        _check_colours(header.main, source.path)
        with ExitStack() as opened:
            try:
                self.handle = opened.enter_context(_LevelFrame(cast(Any, stream or source.entry)))
                self.sizes = [Size(*size) for size in self.handle.level_dimensions]
                self._pages = self._find_pages()
            except Exception as error:  # tifffile and zarr raise what the bytes make them raise
                raise UnsupportedSlide(
                    f"{source.path}: tiffslide does not show this TIFF ({error}); {RESAVE}"
                ) from error
            opened.pop_all()

    def find_level(self, size: Size) -> int | None:
        """The level of exactly that size, where it is one picture and all its tiles are stored."""
        found = next((i for i, own in enumerate(self.sizes) if own == size), None)
        page = None if found is None else self._pages[found]
        return None if page is None or 0 in page.databytecounts else found

    def tile(self, level: int) -> Size:
        page = self._pages[level]
        if page is None:
            return Size(*(min(256, side) for side in self.sizes[level]))
        return _block_size(page)

    def read(self, level: int, box: Box) -> NDArray[np.uint8]:
        """RGB of a box inside the level; tiles that are not stored were not scanned: background."""
        page = self._pages[level]
        try:
            if page is None:
                return self._read_composed(level, box)
            return self._read_blocks(page, box)
        except Exception as error:  # codecs and networks raise what they like
            raise CorruptSlide(
                f"{self._path}: the pixels at level {level}, x {box.x}, y {box.y} cannot be read "
                f"({error}); {self._way_out()}"
            ) from error

    def _way_out(self) -> str:
        if self._stream is None:
            return "copy the file again from its source"
        return "check the server and the network, or copy the file to a local disk"

    def close(self) -> None:
        self.handle.close()
        if self._stream is not None:
            self._stream.close()

    def _find_pages(self) -> list[Any]:
        """tifffile's page of each level; None where a level is put together of several."""
        properties = self.handle.properties
        if "tiffslide.series-composition" in properties:
            self.handle.zarr_group  # noqa: B018 - made once, here, not by the first two threads
            return [None] * len(self.sizes)
        series = self.handle.ts_tifffile.series[properties.get("tiffslide.series-index", 0)]
        pages = [cast(Any, level.pages[0]).aspage() for level in series.levels]
        if [Size(page.imagewidth, page.imagelength) for page in pages] != self.sizes:
            raise ValueError("its levels have other sizes than their pictures")
        return pages

    def _read_blocks(self, page: Any, box: Box) -> NDArray[np.uint8]:
        out = np.empty((box.height, box.width, 3), np.uint8)
        out[:] = self._background
        for index, corner in _blocks_under(page, box):
            block = self._decode_block(page, index)
            if block is None:
                continue
            place = Box(*corner, block.shape[1], block.shape[0])
            inside = place.intersection(box)
            cut = block[inside.y - place.y :, inside.x - place.x :][: inside.height, : inside.width]
            top, left = inside.y - box.y, inside.x - box.x
            out[top : top + inside.height, left : left + inside.width] = self._rgb(cut)
        return out

    def _decode_block(self, page: Any, index: int) -> NDArray[Any] | None:
        """Samples (height, width, samples) of a tile or strip; None where it is not stored."""
        planes = page.samplesperpixel if page.planarconfig == 2 else 1
        per_plane = len(page.dataoffsets) // planes
        found = (self._decode_segment(page, index + i * per_plane) for i in range(planes))
        parts = [part for part in found if part is not None]
        if len(parts) < planes:
            return None
        return parts[0] if planes == 1 else np.concatenate(parts, axis=-1)

    def _decode_segment(self, page: Any, index: int) -> NDArray[Any] | None:
        offset, size_bytes = page.dataoffsets[index], page.databytecounts[index]
        if size_bytes == 0:
            return None
        with self._lock:
            file = self.handle.ts_tifffile.filehandle
            file.seek(offset)
            data = file.read(size_bytes)
        options = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}
        kept = {name: value for name, value in options.items() if value is not None}
        samples: NDArray[Any] = page.decode(data, index, **kept)[0][0]
        return samples

    def _read_composed(self, level: int, box: Box) -> NDArray[np.uint8]:
        where, size = (box.x, box.y), (box.width, box.height)
        return self._rgb(np.asarray(self.handle.read_region(where, level, size, as_array=True)))

    def _rgb(self, samples: NDArray[Any]) -> NDArray[np.uint8]:
        inverted = self.header.main.photometric == MIN_IS_WHITE
        return rgb_from_samples(samples, self._background, inverted=inverted)


def _blocks_under(page: Any, box: Box) -> Iterator[tuple[int, tuple[int, int]]]:
    """Index and top left corner, in the level's frame, of the blocks that the box touches."""
    block = _block_size(page)
    across = -(-page.imagewidth // block.width)
    for row in range(box.y // block.height, -(-box.bottom // block.height)):
        for column in range(box.x // block.width, -(-box.right // block.width)):
            yield row * across + column, (column * block.width, row * block.height)


def _block_size(page: Any) -> Size:
    if page.is_tiled:
        return Size(page.tilewidth, page.tilelength)
    return Size(page.imagewidth, min(page.rowsperstrip, page.imagelength))


def _check_colours(main: Ifd, path: str) -> None:
    if main.compression == APERIO_YCBCR:
        raise UnsupportedSlide(
            f"{path}: tiffslide shows its YCbCr JPEG 2000 tiles in false colours; "
            "use reader='openslide' on a local copy"
        )
