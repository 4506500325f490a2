"""Writes a pyramidal tiled TIFF from a function that gives its pixels, block by block.

A block is read once. It is cut into JPEG tiles and averaged into the next level while the others
are still being made, so that memory holds a few blocks and one row of tiles a level, not the slide.
"""

import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from wsi.cores import usable_cores
from wsi.errors import InvalidOption, ResultExists
from wsi.geometry import Box, Mpp, Size, is_plausible_mpp

__all__ = ["FACTOR", "TILE_PX", "ReadBlock", "level_sizes", "write_pyramid"]

ReadBlock = Callable[[Box], NDArray[np.uint8]]
"""Level-0 box, inside the slide, to uint8 (height, width, 3) RGB. Called from several threads."""

TILE_PX = 256
FACTOR = 4  # from one level to the next, as Aperio writes: 0.25, 1, 4, 16 um/px
FINE_CHROMA = (2, 2)  # JPEG 4:2:0, as scanners write level 0
COARSE_CHROMA = (1, 1)  # a nucleus is one pixel there: its colour must not bleed
COARSEST_PX = 1024  # no more levels once both sides are this small
SPILL_BYTES = 8 << 20  # of a coarse level's tiles; more of them wait in a temporary file


def write_pyramid(
    out: Path,
    size: Size,
    read_block: ReadBlock,
    *,
    mpp: Mpp,
    quality: int | None = 85,
    software: str = "wsi",
    workers: int | None = None,
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes BigTIFF levels at 1, 1/4, 1/16 … that OpenSlide opens with `openslide.mpp-x`.

    `read_block` is asked once for each block of 1024 px, in rows from the top left, by `workers`
    threads (default: one a processor); the bytes do not depend on their number. `quality` is that
    of JPEG; None keeps every pixel (deflate). `on_progress(done, all)` counts blocks.
    The file gets its name when it is whole; whatever fails before, a full disk too, leaves nothing
    behind. Raises ResultExists, InvalidOption, OSError.
    """
    _check(out, size, mpp, quality, overwrite)
    encode, encode_coarse = _encoder(quality, FINE_CHROMA), _encoder(quality, COARSE_CHROMA)
    jobs = workers or usable_cores()
    partial = out.with_name(out.name + ".partial")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with (
            _Levels(level_sizes(size)[1:], encode_coarse, out.parent) as coarse,
            ThreadPoolExecutor(jobs, "pyramid") as pool,
        ):
            source = _Blocks(size, read_block, encode, pool, 2 * jobs, on_progress)
            _write_file(partial, size, source.tiles(coarse.push), coarse, mpp, quality, software)
        partial.replace(out)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def level_sizes(size: Size) -> list[Size]:
    """Level 0 first; each next one a quarter as wide, rounded up, so that no pixel is left out."""
    sizes = [size]
    while max(sizes[-1]) > COARSEST_PX:
        sizes.append(Size(-(-sizes[-1].width // FACTOR), -(-sizes[-1].height // FACTOR)))
    return sizes


Encode = Callable[[NDArray[np.uint8]], bytes]


@dataclass(frozen=True)
class _Block:
    """Level-0 tiles of one block, rows first, and the block at the next level."""

    tiles: list[list[bytes]]
    reduced: NDArray[np.uint8]


@dataclass(frozen=True)
class _Blocks:
    """Level 0, rendered ahead by the pool and handed out in the file's order."""

    size: Size
    read: ReadBlock
    encode: Encode
    pool: ThreadPoolExecutor
    ahead: int
    on_progress: Callable[[int, int], None] | None

    def tiles(self, push: Callable[[NDArray[np.uint8]], None]) -> Iterator[bytes]:
        """Every tile of level 0, row by row; `push` gets each finished row of the next level."""
        columns = -(-self.size.width // (TILE_PX * FACTOR))
        blocks = self._finished()
        while row := list(islice(blocks, columns)):
            # first: nobody asks for more after the last tile
            push(np.concatenate([block.reduced for block in row], axis=1))
            for tile_row in zip(*(block.tiles for block in row), strict=True):
                yield from chain.from_iterable(tile_row)

    def _finished(self) -> Iterator[_Block]:
        boxes = _block_boxes(self.size)
        waiting: deque[Future[_Block]] = deque()
        upcoming = iter(boxes)
        for done in range(1, len(boxes) + 1):
            for box in islice(upcoming, self.ahead - len(waiting)):
                waiting.append(self.pool.submit(self._render, box))
            block = self._first(waiting)
            if self.on_progress:
                self.on_progress(done, len(boxes))
            yield block

    def _render(self, box: Box) -> _Block:
        rgb = self.read(box)
        tiles = [[self.encode(tile) for tile in _cut(row)] for row in _cut(rgb, axis=0)]
        return _Block(tiles, _reduce(rgb))

    @staticmethod
    def _first(waiting: deque[Future[_Block]]) -> _Block:
        try:
            return waiting.popleft().result()
        except BaseException:
            for future in waiting:
                future.cancel()
            raise


def _block_boxes(size: Size) -> list[Box]:
    step = TILE_PX * FACTOR
    whole = Box(0, 0, *size)
    return [
        Box(x, y, step, step).intersection(whole)
        for y in range(0, size.height, step)
        for x in range(0, size.width, step)
    ]


class _Levels:
    """The levels above 0, filled from top to bottom while level 0 is written.

    TIFF wants one level after the other, so the tiles of these wait in temporary files.
    """

    def __init__(self, sizes: Sequence[Size], encode: Encode, folder: Path) -> None:
        self.sizes = tuple(sizes)
        self.coarsest: list[NDArray[np.uint8]] = []  # the last level, in strips from the top
        self._encode = encode
        self._rows: list[list[NDArray[np.uint8]]] = [[] for _ in sizes]
        self._seen = [0] * len(self.sizes)
        self._lengths: list[list[int]] = [[] for _ in sizes]
        self._open = ExitStack()
        self._spills = [self._open.enter_context(_spill(folder)) for _ in sizes]

    def push(self, rows: NDArray[np.uint8], level: int = 0) -> None:
        """Adds rows (h, width, 3) at the bottom; h divides 256, except the last time."""
        if level == len(self.sizes):
            return
        self._rows[level].append(rows)
        self._seen[level] += len(rows)
        at_end = self._seen[level] >= self.sizes[level].height
        if not at_end and self._seen[level] % TILE_PX:
            return
        strip = np.concatenate(self._rows[level])
        self._rows[level] = []
        if level == len(self.sizes) - 1:
            self.coarsest.append(strip)
        for tile in _cut(strip):
            self._keep(level, self._encode(tile))
        self.push(_reduce(strip), level + 1)

    def tiles(self, level: int) -> Iterator[bytes]:
        """Encoded tiles of a finished level, row by row."""
        spill = self._spills[level]
        spill.seek(0)
        for length in self._lengths[level]:
            yield spill.read(length)

    def _keep(self, level: int, tile: bytes) -> None:
        self._spills[level].write(tile)
        self._lengths[level].append(len(tile))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()


def _spill(folder: Path) -> IO[bytes]:
    return tempfile.SpooledTemporaryFile(max_size=SPILL_BYTES, dir=str(folder))


def _cut(pixels: NDArray[np.uint8], axis: int = 1) -> list[NDArray[np.uint8]]:
    """Pieces of 256 px along an axis; the last one may be shorter."""
    return np.split(pixels, range(TILE_PX, pixels.shape[axis], TILE_PX), axis=axis)


def _reduce(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Area average by 4; what sticks out at the right and bottom repeats the last pixel."""
    import cv2

    height, width = rgb.shape[:2]
    rgb = _pad(rgb, -height % FACTOR, -width % FACTOR)
    size = (rgb.shape[1] // FACTOR, rgb.shape[0] // FACTOR)
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def _pad(rgb: NDArray[np.uint8], bottom: int, right: int) -> NDArray[np.uint8]:
    if not bottom and not right:
        return rgb
    return np.pad(rgb, ((0, bottom), (0, right), (0, 0)), mode="edge")


def _encoder(quality: int | None, chroma: tuple[int, int]) -> Encode:
    """A whole tile to bytes. A tile at the edge repeats its last pixels: black would ring in."""
    import imagecodecs

    def deflate(tile: NDArray[np.uint8]) -> bytes:
        return bytes(imagecodecs.zlib_encode(_whole(tile).tobytes(), level=6))

    def jpeg(tile: NDArray[np.uint8]) -> bytes:
        encoded = imagecodecs.jpeg8_encode(
            _whole(tile),
            level=quality,
            colorspace="RGB",
            outcolorspace="YCBCR",
            subsampling=chroma,
        )
        return bytes(encoded)

    return deflate if quality is None else jpeg


def _whole(tile: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = tile.shape[:2]
    return np.ascontiguousarray(_pad(tile, TILE_PX - height, TILE_PX - width))


def _write_file(
    path: Path,
    size: Size,
    tiles: Iterator[bytes],
    coarse: _Levels,
    mpp: Mpp,
    quality: int | None,
    software: str,
) -> None:
    import tifffile

    with path.open("wb") as file:
        with tifffile.TiffWriter(file, bigtiff=True) as tiff:
            description = _aperio_description(size, mpp, quality, software)
            tiff.write(tiles, **_tags(size, mpp, 1, quality, software), description=description)
            if coarse.coarsest:  # the second picture of such a file counts as its thumbnail
                thumbnail = np.concatenate(coarse.coarsest)
                tiff.write(thumbnail, photometric="rgb", compression="zlib", metadata=None)
            for level, level_size in enumerate(coarse.sizes):
                tags = _tags(level_size, mpp, FACTOR ** (level + 1), quality, software)
                tiff.write(coarse.tiles(level), **tags)
        file.flush()
        os.fsync(file.fileno())


def _tags(
    size: Size, mpp: Mpp, downsample: int, quality: int | None, software: str
) -> dict[str, Any]:
    """Arguments of tifffile's writer. Resolution is in pixels a centimetre, at every level."""
    colour: dict[str, Any] = {"photometric": "rgb", "compression": "zlib"}
    if quality is not None:
        chroma = FINE_CHROMA if downsample == 1 else COARSE_CHROMA
        colour = {"photometric": "ycbcr", "compression": "jpeg", "subsampling": chroma}
    return {
        **colour,
        "shape": (size.height, size.width, 3),
        "dtype": np.uint8,
        "tile": (TILE_PX, TILE_PX),
        "resolution": (1e4 / (mpp.x * downsample), 1e4 / (mpp.y * downsample)),
        "resolutionunit": "CENTIMETER",
        "software": software,
        "metadata": None,
    }


def _aperio_description(size: Size, mpp: Mpp, quality: int | None, software: str) -> str:
    """The first word makes OpenSlide look for mpp and objective power; ours is a drawn slide.

    AppMag is what objective a scan of that resolution would be called by: 40x is 0.25 um/px.
    """
    how = f"JPEG/YCC Q={quality}" if quality is not None else "deflate"
    power = 10 / ((mpp.x + mpp.y) / 2)
    return (
        f"Aperio format, written by {software}\r\n"
        f"{size.width}x{size.height} ({TILE_PX}x{TILE_PX}) {how}"
        f"|AppMag = {power:.4g}|MPP = {mpp.x:.6g}"
    )


def _check(out: Path, size: Size, mpp: Mpp, quality: int | None, overwrite: bool) -> None:
    if min(size) < 1:
        raise InvalidOption(f"{out}: a slide of {size.width}x{size.height} px has no pixels")
    if not all(is_plausible_mpp(value) for value in mpp):
        raise InvalidOption(f"{out}: {mpp.x}x{mpp.y} um/px is no resolution; use 0.05 to 60")
    if quality is not None and not 1 <= quality <= 100:
        raise InvalidOption(f"{out}: JPEG quality {quality}; use 1 to 100, or None for deflate")
    if out.exists() and not overwrite:
        raise ResultExists(f"{out}: the file exists; choose another name or allow overwriting")
