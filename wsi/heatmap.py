"""The assembler: tile scores back into a map that lies on the slide."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi.geometry import Box, Mpp, Scale, Size

__all__ = ["Heatmap"]


@dataclass(frozen=True)
class Heatmap:
    """Class probabilities on cells of one stride each.

    Cell (row, column) covers the level-0 rectangle that starts at
    (bounds0.x + column * cell0.x, bounds0.y + row * cell0.y) and is cell0.x by cell0.y large, real
    numbers; the last cells may reach over the edge of the bounds.
    """

    values: NDArray[np.float32]  # (classes, rows, columns); NaN where there is no tissue
    classes: tuple[str, ...]
    positive_class: str  # the class that pictures, thresholds and regions are about
    threshold: float  # of the positive class's probability
    size0: Size  # level 0 of the slide
    slide_mpp: Mpp
    bounds0: Box  # the part of level 0 that was tiled
    cell0: Scale  # level-0 px a cell

    @property
    def positive(self) -> NDArray[np.float32]:
        """The positive class alone: (rows, columns)."""
        return self.values[self.classes.index(self.positive_class)]

    @property
    def cell_um(self) -> Scale:
        return Scale(self.cell0.x * self.slide_mpp.x, self.cell0.y * self.slide_mpp.y)
