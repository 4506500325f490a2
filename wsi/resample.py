"""Area averages: each output pixel is the mean of exactly the source area that it covers."""

import threading
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi.weights import Weights, area_weights

__all__ = [
    "area_average",
    "average_box",
    "average_by_scipy",
    "average_cells",
    "why_not_compiled",
]

MOST_KEPT_FLOATS = 1 << 21  # 8 MiB a thread: 830 px a side

_memory = threading.local()


def _load() -> tuple[Any, str]:
    """What is compiled, or None and why: then SciPy computes the same, more slowly."""
    try:
        from wsi import _area
    except ImportError as error:
        return None, str(error)
    return _area, ""


_area, _import_error = _load()


def area_average(
    rgb: NDArray[np.uint8],
    rows: Weights,
    columns: Weights,
    background: tuple[int, int, int] | None = None,
) -> NDArray[np.uint8]:
    """uint8 (h, w, 3) to (rows.count, columns.count, 3).

    background: what fills up weights that do not sum to 1. Raises ValueError where the weights are
    of other pixels than `rgb` has.
    """
    if rgb.shape[:2] != (rows.length, columns.length):
        raise ValueError(f"weights of {rows.length} x {columns.length} px, not {rgb.shape[:2]}")
    if _area is None or background is not None or rgb.strides[1:] != (3, 1):
        return average_by_scipy(rgb, rows, columns, background)
    out = np.empty((rows.count, columns.count, 3), np.uint8)
    _area.average(rgb, rows.arrays, columns.arrays, out)
    return out


def why_not_compiled() -> str | None:
    """What keeps area_average() from its compiled part; None where nothing does."""
    if _area is not None:
        return None
    if find_spec("wsi._area") is None:
        return "wsi._area was not built, which needs a C compiler and Python's headers"
    return f"wsi._area cannot be loaded: {_import_error}"


def average_by_scipy(
    rgb: NDArray[np.uint8],
    rows: Weights,
    columns: Weights,
    background: tuple[int, int, int] | None = None,
) -> NDArray[np.uint8]:
    """area_average() without what is compiled: with SciPy's own wheels for x86-64 the same bits."""
    width, channels = rgb.shape[1:]
    down: NDArray[np.float32] = rows.sparse @ _as_floats(rgb)
    mean: Any = columns.sparse @ _swap_axes(down, width, channels)
    mean = _swap_axes(mean, rows.count, channels)
    mean += np.float32(0.5)
    mean = mean.reshape(rows.count, columns.count, channels)
    if background is not None:
        outside = 1 - np.multiply.outer(rows.sums, columns.sums)
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
    is_whole = all(float(edge).is_integer() for edge in edges)
    if not (is_inside and is_whole and (bottom - top) % rows == (right - left) % columns == 0):
        down = area_weights(top, bottom, height, rows)
        return area_average(rgb, down, area_weights(left, right, width, columns))
    part = rgb[int(top) : int(bottom), int(left) : int(right)]
    return part.copy() if part.shape[:2] == shape else _shrink(part, shape)


def _shrink(rgb: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Whole pixels to one, by OpenCV: in float32, since on uint8 halves go to even."""
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
