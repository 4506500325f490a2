"""Area averages: each output pixel is the mean of exactly the source area that it covers."""

import math
import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = [
    "area_average",
    "area_weights",
    "average_box",
    "average_cells",
    "covered_weights",
    "linear_weights",
]

MOST_KEPT_FLOATS = 1 << 21  # 8 MiB a thread: 830 px a side

_memory = threading.local()


@lru_cache(maxsize=32)
def area_weights(start: float, stop: float, length: int, count: int) -> "csr_array":
    """Sparse float32 (count, length): row k averages the k-th of `count` equal parts of
    [start, stop) over source pixels 0..length-1, each weighted by how much of it is covered.

    What sticks out of 0..length is left out and the rest weighted up; a part that lies outside
    altogether repeats the nearest pixel. Rows sum to 1. Shared: not to be changed.
    """
    from scipy.sparse import csr_array

    edges = np.clip(np.linspace(start, stop, count + 1), 0, length)
    first = np.minimum(np.floor(edges[:-1]).astype(np.int64), length - 1)
    last = np.maximum(np.ceil(edges[1:]).astype(np.int64), first + 1)
    taps = last - first
    indptr = np.concatenate([[0], np.cumsum(taps)])
    row = np.repeat(np.arange(count), taps)
    pixel = np.arange(indptr[-1]) - indptr[row] + first[row]
    covered = np.minimum(edges[row + 1], pixel + 1) - np.maximum(edges[row], pixel)
    empty = (edges[1:] <= edges[:-1])[row]
    covered = np.where(empty, pixel == first[row], np.maximum(covered, 0))
    weights = covered / np.add.reduceat(covered, indptr[:-1])[row]
    return csr_array((weights.astype(np.float32), pixel, indptr), shape=(count, length))


def covered_weights(
    start: float, stop: float, length: int, count: int, edge: float = math.inf
) -> "csr_array":
    """As area_weights, but nothing is weighted up: what lies beyond `edge` weighs nothing, so that
    the rows there sum to less than 1 and the rest is background.

    The last pixel reaches as far as `edge`, where that lies beyond it: writers cut levels short.
    0 <= start.
    """
    from scipy.sparse import csr_array

    edges = np.minimum(np.linspace(start, stop, count + 1), edge)
    first = np.minimum(np.floor(edges[:-1]).astype(np.int64), length - 1)
    last = np.clip(np.ceil(edges[1:]).astype(np.int64), first + 1, length)
    taps = last - first
    indptr = np.concatenate([[0], np.cumsum(taps)])
    row = np.repeat(np.arange(count), taps)
    pixel = np.arange(indptr[-1]) - indptr[row] + first[row]
    pixel_stop = np.where(pixel == length - 1, np.inf, pixel + 1)
    covered = np.minimum(edges[row + 1], pixel_stop) - np.maximum(edges[row], pixel)
    weights = np.maximum(covered, 0) * count / (stop - start)
    return csr_array((weights.astype(np.float32), pixel, indptr), shape=(count, length))


def linear_weights(
    start: float, stop: float, length: int, count: int, edge: float = math.inf
) -> "csr_array":
    """As covered_weights, for enlarging: each output pixel's centre lies between two source pixels'
    centres and mixes the two; a centre at or beyond `edge` weighs nothing.
    """
    from scipy.sparse import csr_array

    centres = start + (np.arange(count) + 0.5) * (stop - start) / count
    below = np.floor(centres - 0.5)
    part = centres - 0.5 - below
    pixel = np.clip(np.stack([below, below + 1], axis=1), 0, length - 1).astype(np.int64)
    weights = np.stack([1 - part, part], axis=1) * (centres < edge)[:, None]
    indptr = np.arange(count + 1) * 2
    flat = weights.astype(np.float32).ravel()
    return csr_array((flat, pixel.ravel(), indptr), shape=(count, length))


def area_average(
    rgb: NDArray[np.uint8],
    rows: "csr_array",
    columns: "csr_array",
    background: tuple[int, int, int] | None = None,
) -> NDArray[np.uint8]:
    """uint8 (h, w, 3) to (rows' count, columns' count, 3) by weights of the functions above.

    background: what fills up weights that do not sum to 1.
    """
    width, channels = rgb.shape[1:]
    down: NDArray[np.float32] = rows @ _as_floats(rgb)
    mean: Any = columns @ _swap_axes(down, width, channels)
    mean = _swap_axes(mean, rows.shape[0], channels)
    mean += np.float32(0.5)
    mean = mean.reshape(rows.shape[0], columns.shape[0], channels)
    if background is not None:
        outside = 1 - np.multiply.outer(rows.sum(axis=1), columns.sum(axis=1))
        mean += np.maximum(outside, 0)[..., None] * np.array(background, np.float32)
    return np.asarray(mean.astype(np.uint8))


def average_cells(rgb: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """Into `out`, uint8 (rows, columns, 3), the mean of each equal cell of whole pixels of `rgb`.

    The sides of `rgb` are multiples of those of `out`; means are rounded to the nearest.
    """
    if rgb.shape == out.shape:
        out[...] = rgb
        return
    import cv2

    height, width = out.shape[:2]
    cv2.resize(rgb, (width, height), dst=out, interpolation=cv2.INTER_AREA)


def average_box(
    rgb: NDArray[np.uint8],
    left: float,
    top: float,
    right: float,
    bottom: float,
    shape: tuple[int, int],
) -> NDArray[np.uint8]:
    """The mean of each of `shape` (rows, columns) equal parts of a box of source pixels: uint8
    (rows, columns, 3), an array of its own. What sticks out of the source: as in area_weights.
    """
    rows, columns = shape
    height, width = rgb.shape[:2]
    edges = (left, top, right, bottom)
    is_inside = 0 <= left < right <= width and 0 <= top < bottom <= height
    is_shrunk = bottom - top >= rows and right - left >= columns
    if not (is_inside and is_shrunk and all(float(edge).is_integer() for edge in edges)):
        down = area_weights(top, bottom, height, rows)
        return area_average(rgb, down, area_weights(left, right, width, columns))
    part = rgb[int(top) : int(bottom), int(left) : int(right)]
    return part.copy() if part.shape[:2] == shape else _shrink(part, shape)


def _shrink(rgb: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """By OpenCV, whose area average is exact from whole pixels to whole pixels.

    1875 to 1300 px: 16 ms, area_average() 72 ms. In float32, since on uint8 halves go to even.
    """
    import cv2

    mean: Any = cv2.resize(rgb.astype(np.float32), shape[::-1], interpolation=cv2.INTER_AREA)
    mean += np.float32(0.5)  # without another array as large
    return np.asarray(mean.astype(np.uint8))


def _as_floats(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """float32 (height, width * channels), until this thread calls again: the system zeroes new
    memory, which takes as long as the conversion."""
    height, width, channels = rgb.shape
    memory: NDArray[np.float32] | None = getattr(_memory, "floats", None)
    if memory is None or len(memory) < rgb.size:
        memory = np.empty(rgb.size, np.float32)
        if rgb.size <= MOST_KEPT_FLOATS:
            _memory.floats = memory
    floats = memory[: rgb.size].reshape(rgb.shape)
    floats[...] = rgb
    return floats.reshape(height, width * channels)


def _swap_axes(lines: NDArray[np.float32], across: int, channels: int) -> NDArray[np.float32]:
    """(n, across * channels) to (across, n * channels)."""
    import cv2

    turned = cv2.transpose(lines.reshape(len(lines), across, channels))  # 4 times NumPy's rate
    return np.asarray(turned, np.float32).reshape(across, len(lines) * channels)
