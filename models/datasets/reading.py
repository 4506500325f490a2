"""Items to pixels: each file decoded once, in threads, a few ahead of who takes them."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby, islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from models.datasets.items import Damage, Item, Pictures
from wsi.cores import usable_cores
from wsi.geometry import Size

__all__ = ["UInt8Array", "map_pictures", "pixels_sha256", "read_sizes"]

UInt8Array = npt.NDArray[np.uint8]
T = TypeVar("T")
MOST_THREADS = 8
AHEAD = 2  # units in memory for each thread: one in work, one waiting
SMALL_PX = 256
SMALL_FILES = 16  # handed over as one: for a tile alone that costs as much as decoding it
SHEET_PX = 16_384


def map_pictures(
    pictures: Pictures,
    function: Callable[[Item, UInt8Array], T],
    index: Iterable[int] | None = None,
) -> Generator[T | Damage, None, None]:
    """function(item, RGB (height, width, 3)) of every picture, or of those of `index`, in order.

    A picture that cannot be read comes as its Damage. The function runs in several threads. In
    memory are the pixels of a few files, however many there are.
    """
    chosen = range(len(pictures)) if index is None else index
    units = _units(pictures, [pictures.items[i] for i in chosen])
    threads = min(MOST_THREADS, usable_cores())
    ahead: deque[Future[list[T | Damage]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="pictures")
    try:
        while True:
            for unit in islice(units, AHEAD * threads - len(ahead)):
                ahead.append(pool.submit(_map_unit, unit, function, pictures.largest_px))
            if not ahead:
                return
            yield from ahead.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def read_sizes(pictures: Pictures) -> list[Size | Damage]:
    """From the headers of files; what is known already is not read again."""
    with ThreadPoolExecutor(min(MOST_THREADS, usable_cores())) as pool:
        return list(
            pool.map(lambda item: item.size or _header_size(item, pictures), pictures.items)
        )


def pixels_sha256(rgb: UInt8Array) -> str:
    return hashlib.sha256(rgb.tobytes()).hexdigest()


def _units(pictures: Pictures, items: list[Item]) -> Iterator[list[Item]]:
    """A sheet with all of its cells that follow each other; or a file, of small ones several."""
    most = SMALL_FILES if pictures.largest_px <= SMALL_PX else 1
    for is_sheet, group in groupby(items, lambda item: item.cell is not None):
        if is_sheet:
            yield from (list(cells) for _, cells in groupby(group, lambda item: item.path))
        else:
            while files := list(islice(group, most)):
                yield files


def _map_unit(
    unit: list[Item], function: Callable[[Item, UInt8Array], T], largest_px: int
) -> list[T | Damage]:
    if unit[0].cell is None:
        return [_map_file(item, function, largest_px) for item in unit]
    sheet = _decode(unit[0].path, SHEET_PX)
    return [_map_cell(item, sheet, function) for item in unit]


def _map_file(item: Item, function: Callable[[Item, UInt8Array], T], largest_px: int) -> T | Damage:
    rgb = _decode(item.path, largest_px)
    return Damage(item.where, rgb) if isinstance(rgb, str) else function(item, rgb)


def _map_cell(
    item: Item, sheet: UInt8Array | str, function: Callable[[Item, UInt8Array], T]
) -> T | Damage:
    if isinstance(sheet, str):
        return Damage(item.where, sheet)
    if item.cell is None or item.size is None:
        return Damage(item.where, "its place in the sheet is not known")
    x, y, sha1 = item.cell
    rgb = sheet[y : y + item.size.height, x : x + item.size.width]
    if hashlib.sha1(rgb.tobytes()).hexdigest()[:12] != sha1:
        return Damage(item.where, "not the pixels that the table lists")
    return function(item, rgb)


def _decode(path: Path, largest_px: int) -> UInt8Array | str:
    """RGB, or why there is none."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            if reason := _unfit(image.size, image.mode, largest_px):
                return reason
            return np.asarray(image.convert("RGB"))
    except Exception as error:  # decoders raise what the bytes make them raise
        return _sentence(error, path)


def _header_size(item: Item, pictures: Pictures) -> Size | Damage:
    from PIL import Image

    try:
        with Image.open(item.path) as image:
            if reason := _unfit(image.size, image.mode, pictures.largest_px):
                return Damage(item.where, reason)
            return Size(*image.size)
    except Exception as error:  # as above
        return Damage(item.where, _sentence(error, item.path))


def _unfit(size: tuple[int, int], mode: str, largest_px: int) -> str | None:
    if not 0 < max(size) <= largest_px:
        return f"{size[0]} x {size[1]} px, the largest is {largest_px}"
    if mode[0] in "IF":
        return f"samples of mode {mode}, not 8 bit"
    return None


def _sentence(error: Exception, path: Path) -> str:
    """Without the path, which Pillow repeats: the picture is named already."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    return str(error).replace(f" '{path}'", "").replace(str(path), "it") or type(error).__name__
