"""Where the tissue is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi.geometry import Scale

__all__ = ["TissueMask"]


@dataclass(frozen=True)
class TissueMask:
    """Tissue on a coarse raster over all of level 0, from its top left corner.

    Pixel (row, column) covers the level-0 rectangle [column, column + 1) * px0.x by
    [row, row + 1) * px0.y, as in an Overview.
    """

    tissue: NDArray[np.bool_]  # (height, width)
    mpp: float  # um a pixel
    px0: Scale  # level-0 px for each px of the mask
    method: str  # key of MASK_METHODS, or "user"
    warnings: tuple[str, ...] = ()

    @property
    def area_mm2(self) -> float:
        return float(self.tissue.sum()) * self.mpp**2 / 1e6
