"""What every writer is given: one slide's heatmap, its tiles, and where they came from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi.grid import TileGrid
from wsi.heatmap import Heatmap
from wsi.mask import TissueMask
from wsi.overview import Overview
from wsi.slide import SlideInfo

__all__ = ["ExportSource", "channels_by_tile"]


@dataclass(frozen=True)
class ExportSource:
    """All frames are level 0 of the slide; a writer for another frame says so and converts."""

    slide: SlideInfo
    slide_id: str  # sha256 of the slide's files, or what stands for it: part of stable ids
    model: str  # name of the model's card
    heatmap: Heatmap
    grid: TileGrid
    indices: NDArray[np.int32]  # (n, 2) row and column of each scored tile
    prob: NDArray[np.float32]  # (n, classes), in the order of `indices`
    mask: TissueMask
    overview: Overview | None = None  # the slide small, for pictures; absent where not needed
    summary: Mapping[str, Any] = field(default_factory=dict)  # of regions.summarise()
    warnings: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)  # the manifest, for the report
    channels: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """Those of the heatmap that tiles have too, as channels_by_tile() has them."""

    @property
    def slide_name(self) -> str:
        """In Unicode: bytes of a file's name that are no UTF-8 are escaped."""
        return self.slide.name.encode("utf-8", "backslashreplace").decode()


def channels_by_tile(
    heatmap: Heatmap,
    grid: TileGrid,
    indices: NDArray[np.integer[Any]],
    scored: Mapping[str, NDArray[np.float32]],
) -> dict[str, NDArray[np.float32]]:
    """The heatmap's channels by tile, float32 (n,): as `scored`, or out of the map's cells.

    What was made from the map alone has no number for a tile where tiles overlap: it is left out.
    """
    is_cell = grid.stride_px == grid.tile_px
    at = tuple(indices.T)
    return {
        name: scored.get(name, plane[at])
        for name, plane in heatmap.channels.items()
        if name in scored or is_cell
    }
