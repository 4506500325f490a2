"""The heatmap as an OME-Zarr image that lies on the slide, with its tissue as a label image."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi.export.source import ExportSource
from wsi.geometry import Box, Mpp, Scale, Size
from wsi.grid import tissue_areas0
from wsi.heatmap import Heatmap, pyramid
from wsi.mask import TissueMask
from wsi.store import read_heatmap, write_heatmap

__all__ = ["read", "tissue_levels", "write"]


def write(source: ExportSource, path: Path, *, ngff: str = "0.5", overwrite: bool = False) -> Path:
    """A folder: float32 (c, y, x) pyramid, NaN without tissue, labels/tissue with equal levels.

    Along c come the classes, then the channels, as the attributes `classes` and `channels` of `wsi`
    and OMERO's labels name them.

    Physical space is um from the top left corner of the slide's level 0. The attributes hold what
    makes the heatmap again. ngff: "0.5" (zarr v3) or "0.4" (zarr v2).
    Raises InvalidOption, ResultExists.
    """
    heatmap = source.heatmap
    levels = pyramid(heatmap.planes)
    write_heatmap(
        path,
        levels,
        tissue_levels(source.mask, heatmap, len(levels)),
        cell_um=heatmap.cell_um,
        origin_um=_origin_um(heatmap),
        classes=heatmap.classes,
        attributes=_attributes(source),
        channels=tuple(heatmap.channels),
        shown=heatmap.positive_class,
        ngff=ngff,
        overwrite=overwrite,
    )
    return path


def read(path: Path) -> Heatmap:
    """The heatmap out of a folder that write() made. Raises StoreIncomplete, StoreMismatch."""
    stored = read_heatmap(path)
    own = stored.attributes
    values, more = np.split(stored.levels[0], [len(stored.classes)])
    return Heatmap(
        values=values,
        classes=stored.classes,
        positive_class=own["positive_class"],
        threshold=own["threshold"],
        size0=Size(*own["size0"]),
        slide_mpp=Mpp(*own["slide_mpp"]),
        bounds0=Box(*own["bounds0"]),
        cell0=Scale(*own["cell0"]),
        channels=dict(zip(stored.channels, more, strict=True)),
    )


def tissue_levels(mask: TissueMask, heatmap: Heatmap, count: int) -> list[NDArray[np.uint8]]:
    """1 where at least half of a cell's area is tissue: `count` levels, each half the one before.

    Tiles need far less tissue to be scored, so a scored cell at the edge may well be 0 here.
    """
    part = _tissue_parts(mask, heatmap)
    levels = []
    for _ in range(count):
        levels.append((part >= 0.5).astype(np.uint8))
        part = _halve(part)
    return levels


def _tissue_parts(mask: TissueMask, heatmap: Heatmap) -> NDArray[np.float32]:
    """Part of each cell that is tissue, as far as it is inside the bounds: exact areas, float32
    (rows, columns)."""
    x0, y0 = heatmap.edges_x0, heatmap.edges_y0
    tissue = tissue_areas0(mask, (x0[:-1], x0[1:]), (y0[:-1], y0[1:]))
    whole = np.outer(np.diff(y0), np.diff(x0))
    return np.asarray(tissue / np.maximum(whole, 1e-9), np.float32)


def _halve(part: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of blocks of 2 by 2; an odd last row or column stands for itself."""
    rows, columns = part.shape
    whole = np.pad(part, ((0, rows % 2), (0, columns % 2)), mode="edge")
    blocks = whole.reshape(len(whole) // 2, 2, -1, 2)
    return np.asarray(blocks.mean(axis=(1, 3)), np.float32)


def _origin_um(heatmap: Heatmap) -> Scale:
    """Top left corner of the first cell, um from the slide's corner."""
    bounds0, mpp = heatmap.bounds0, heatmap.slide_mpp
    return Scale(bounds0.x * mpp.x, bounds0.y * mpp.y)


def _attributes(source: ExportSource) -> dict[str, Any]:
    heatmap = source.heatmap
    attributes = {
        "frame": "um from the top left corner of the slide's level 0; bounds not subtracted",
        "slide": source.slide_id,
        "model": source.model,
        "positive_class": heatmap.positive_class,
        "threshold": heatmap.threshold,
        "size0": list(heatmap.size0),
        "slide_mpp": list(heatmap.slide_mpp),
        "bounds0": list(heatmap.bounds0),
        "cell0": list(heatmap.cell0),
        "grid": source.grid.to_json(),
        "mask": {"method": source.mask.method, "mpp": source.mask.mpp},
        "warnings": list(source.warnings),
        "provenance": dict(source.provenance),
    }
    plain: dict[str, Any] = json.loads(json.dumps(attributes))  # tuples to lists, as read back
    return plain
