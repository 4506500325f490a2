"""A heatmap on disk, looked at piece by piece: any part of the slide's level 0, at any scale."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsi.errors import InvalidOption, StoreGone, StoreIncomplete
from wsi.geometry import Box, Mpp, Scale, Size, round_half_up
from wsi.store import open_heatmap
from wsi.weights import area_weights

__all__ = ["Cell", "HeatmapView"]

KEPT_BYTES = 8 << 20
"""A plane up to this size is read once and kept; of a larger one only what is looked at."""


class Cell(NamedTuple):
    """What a heatmap says at a point."""

    box0: Box  # level-0 px; its tile's, without overlap
    prob: dict[str, float]  # by class
    channels: dict[str, float]  # by name


class HeatmapView:
    """A heatmap as `wsi.export.ome_zarr` wrote it. Safe to use from several threads.

    Raises StoreIncomplete, StoreMismatch; StoreGone where it is deleted once it is open, but for
    what is in memory.
    """

    def __init__(self, path: Path) -> None:
        stored = open_heatmap(path)
        self._path = path
        own = stored.attributes
        self._levels = stored.levels
        self._kept: dict[tuple[int, int], NDArray[np.float32]] = {}
        self.classes = stored.classes
        self.channels = stored.channels
        self.positive_class: str = own["positive_class"]
        self.threshold: float = own["threshold"]
        self.size0 = Size(*own["size0"])
        self.slide_mpp = Mpp(*own["slide_mpp"])
        self.bounds0 = Box(*own["bounds0"])
        self.cell0 = Scale(*own["cell0"])

    @property
    def kept_bytes(self) -> int:
        """Of the planes that are in memory."""
        return sum(plane.nbytes for plane in list(self._kept.values()))

    def forget(self) -> None:
        """Lets the planes in memory go; they are read again where they are looked at again."""
        self._kept.clear()

    @property
    def names(self) -> tuple[str, ...]:
        """Of all planes that can be shown: the classes, then the channels."""
        return (*self.classes, *self.channels)

    def plane(self, box: Box, scale0: float, name: str | None = None) -> NDArray[np.float32]:
        """A class (default: the positive one) or a channel in a box of a picture whose px are
        `scale0` level-0 px a side, from the corner of level 0: float32 (height, width).

        Where a cell is larger than a px, a px has the value of the cell at its centre, as data are
        shown; where it is smaller, the mean of the cells that it covers. NaN outside the bounds
        and where nothing was scored. Raises InvalidOption.
        """
        channel = self._channel(name)
        level = self._level(scale0)
        cell0 = Scale(self.cell0.x * 2**level, self.cell0.y * 2**level)
        rows, columns = self._levels[level].shape[1:]
        across = _Axis(box.x, box.width, scale0, cell0.x, self.bounds0.x, self.bounds0.right)
        down = _Axis(box.y, box.height, scale0, cell0.y, self.bounds0.y, self.bounds0.bottom)
        used = down.used(rows), across.used(columns)
        cells = self._cells(level, channel, *used)
        if min(cells.shape) == 0:
            return np.full((box.height, box.width), np.nan, np.float32)
        show = _nearest if scale0 <= min(self.cell0) else _mean
        shown = show(cells, down, across, used[0].start, used[1].start)
        shown[~down.inside] = np.nan
        shown[:, ~across.inside] = np.nan
        return shown

    def fitted(self, longest_px: int, name: str | None = None) -> NDArray[np.float32]:
        """All of level 0, its longer side `longest_px`: float32 (height, width), as plane()."""
        scale0 = max(self.size0) / longest_px
        width, height = (max(1, round(side / scale0)) for side in self.size0)
        return self.plane(Box(0, 0, width, height), scale0, name)

    def at(self, x0: float, y0: float) -> Cell | None:
        """The cell at a point of level 0; None where nothing was scored."""
        column = _cell_at(x0, self.cell0.x, self.bounds0.x, self.bounds0.right)
        row = _cell_at(y0, self.cell0.y, self.bounds0.y, self.bounds0.bottom)
        if column is None or row is None:
            return None
        values = self._read(0, (slice(None), row, column))
        prob, more = np.split(values, [len(self.classes)])
        if np.isnan(prob).any():
            return None
        return Cell(
            self._box0(row, column),
            dict(zip(self.classes, prob.tolist(), strict=True)),
            dict(zip(self.channels, more.tolist(), strict=True)),
        )

    def _box0(self, row: int, column: int) -> Box:
        left, right = (_edge(column + i, self.cell0.x, self.bounds0.x) for i in (0, 1))
        top, bottom = (_edge(row + i, self.cell0.y, self.bounds0.y) for i in (0, 1))
        return Box(left, top, right - left, bottom - top)

    def _channel(self, name: str | None) -> int:
        name = self.positive_class if name is None else name
        if name not in self.names:
            raise InvalidOption(f"class {name!r}: use one of {', '.join(self.names)}")
        return self.names.index(name)

    def _level(self, scale0: float) -> int:
        """The coarsest whose cells are no larger than a px; 0 where none is."""
        level = 0
        while level + 1 < len(self._levels) and max(self.cell0) * 2 ** (level + 1) <= scale0:
            level += 1
        return level

    def _cells(self, level: int, channel: int, rows: slice, columns: slice) -> NDArray[np.float32]:
        array = self._levels[level]
        height, width = array.shape[1:]
        if height * width * array.dtype.itemsize > KEPT_BYTES:
            return self._read(level, (channel, rows, columns))
        plane = self._kept.get((level, channel))
        if plane is None:
            plane = self._kept[level, channel] = self._read(level, (channel,))
        return plane[rows, columns]

    def _read(self, level: int, selection: tuple[Any, ...]) -> NDArray[np.float32]:
        """From disk. Raises StoreIncomplete where the file is damaged, StoreGone."""
        array: Any = self._levels[level]
        try:
            values = np.asarray(array[selection], np.float32)
        except (OSError, ValueError, RuntimeError) as error:
            self._require_there()
            raise StoreIncomplete(f"{self._path}: level {level} is damaged ({error})") from error
        self._require_there()  # of a chunk that is missing zarr makes NaN, without a word
        return values

    def _require_there(self) -> None:
        if not self._path.exists():
            raise StoreGone("the heatmap was deleted just now; make the result again")


class _Axis:
    """The px of a picture along one axis, in cells of a level."""

    def __init__(
        self, first: int, count: int, scale0: float, cell0: float, low0: int, high0: int
    ) -> None:
        edges0 = (first + np.arange(count + 1)) * scale0
        centres0 = (first + np.arange(count) + 0.5) * scale0
        self.count = count
        self.start = (edges0[0] - low0) / cell0
        self.stop = (edges0[-1] - low0) / cell0
        self.nearest = np.floor((centres0 - low0) / cell0).astype(np.int64)
        # starts of cells are rounded to whole level-0 px: a centre just before one is still left
        starts0 = low0 + np.floor(self.nearest * cell0 + 0.5)
        self.nearest -= (cell0 >= 1) & (centres0 < starts0)
        nexts0 = low0 + np.floor((self.nearest + 1) * cell0 + 0.5)
        self.nearest += (cell0 >= 1) & (centres0 >= nexts0)
        self.inside = (edges0[1:] > low0) & (edges0[:-1] < high0)

    def used(self, cells: int) -> slice:
        """The cells that the px look at, of `cells`."""
        first = min(max(0, min(int(self.nearest[0]), int(np.floor(self.start)))), cells)
        last = max(int(self.nearest[-1]) + 1, int(np.ceil(self.stop)))
        return slice(first, min(max(first, last), cells))


def _nearest(
    cells: NDArray[np.float32], down: _Axis, across: _Axis, top: int, left: int
) -> NDArray[np.float32]:
    rows = np.clip(down.nearest - top, 0, cells.shape[0] - 1)
    columns = np.clip(across.nearest - left, 0, cells.shape[1] - 1)
    shown: NDArray[np.float32] = cells[np.ix_(rows, columns)]
    return shown


def _mean(
    cells: NDArray[np.float32], down: _Axis, across: _Axis, top: int, left: int
) -> NDArray[np.float32]:
    """Area means of the cells that are not NaN."""
    height, width = cells.shape
    rows = area_weights(down.start - top, down.stop - top, height, down.count).sparse
    columns = area_weights(across.start - left, across.stop - left, width, across.count).sparse
    known = np.isfinite(cells)
    weight = (columns @ (rows @ known.astype(np.float32)).T).T
    total = (columns @ (rows @ np.where(known, cells, 0)).T).T
    shown = np.full(weight.shape, np.nan, np.float32)
    np.divide(total, weight, out=shown, where=weight > 1e-6)
    return shown


def _edge(index: int, cell0: float, low0: int) -> int:
    return low0 + round_half_up(index * cell0)


def _cell_at(at0: float, cell0: float, low0: int, high0: int) -> int | None:
    """The cell whose rounded borders hold a point; None outside the bounds."""
    if not low0 <= at0 < high0:
        return None
    index = int((at0 - low0) / cell0)
    return next(i for i in (index, index - 1, index + 1) if _holds(i, at0, cell0, low0))


def _holds(index: int, at0: float, cell0: float, low0: int) -> bool:
    return _edge(index, cell0, low0) <= at0 < _edge(index + 1, cell0, low0)
