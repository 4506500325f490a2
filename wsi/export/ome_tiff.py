"""The heatmap as a pyramidal OME-TIFF of float32, for Bio-Formats, QuPath, Fiji and napari."""

import hashlib
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from wsi.export.output import partial_file
from wsi.export.source import ExportSource
from wsi.heatmap import Heatmap, pyramid

__all__ = ["TILE_PX", "write"]

TILE_PX = 256

COMPRESSION = "zlib"
"""Deflate, without a predictor: Bio-Formats reads no floating-point predictor (3)."""


def write(source: ExportSource, path: Path) -> Path:
    """One channel a class, then the heatmap's own channels by name; values 0 to 1, NaN without
    tissue; smaller levels in SubIFDs.

    The size of a pixel is that of a cell, in um. PositionX and PositionY are the centre of the
    first cell, um from the top left corner of the slide's level 0 (bounds not subtracted), as the
    OME-Zarr has it. Equal sources give equal bytes.
    """
    import tifffile

    levels = pyramid(source.heatmap.planes)
    common: dict[str, Any] = {
        "photometric": "minisblack",
        "tile": (TILE_PX, TILE_PX),
        "compression": COMPRESSION,
        "predictor": False,
        "resolutionunit": "CENTIMETER",
        "software": False,
    }
    with (
        partial_file(path) as partial,
        tifffile.TiffWriter(partial, ome=True, bigtiff=_is_big(levels[0].nbytes)) as file,
    ):
        for number, level in enumerate(levels):
            own: dict[str, Any] = {"subfiletype": 1}
            if number == 0:
                own = {"subifds": len(levels) - 1, "metadata": _metadata(source)}
            file.write(level, **common, **own, resolution=_per_cm(source, 2**number))
    return path


def _is_big(size_bytes: int) -> bool:
    """Whether it may pass 4 GB: the pyramid is a third more, noise does not shrink."""
    return size_bytes * 1.5 > 2**32


def _per_cm(source: ExportSource, factor: int) -> tuple[float, float]:
    """Cells of a level a centimetre."""
    cell_um = source.heatmap.cell_um
    return 1e4 / (cell_um.x * factor), 1e4 / (cell_um.y * factor)


def _metadata(source: ExportSource) -> dict[str, Any]:
    heatmap, cell = source.heatmap, source.heatmap.cell_um
    return {
        "axes": "CYX",
        "UUID": _uuid(source),
        "Creator": "wsi-heatmap",
        "Name": f"{source.slide_name} {source.model}",
        "Description": (
            "Class probabilities, NaN without tissue. Positions are um from the top left corner of "
            "the slide's level 0; PositionX and PositionY are the centre of the first pixel."
        ),
        "PhysicalSizeX": cell.x,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": cell.y,
        "PhysicalSizeYUnit": "µm",
        "Channel": {"Name": [*heatmap.classes, *heatmap.channels]},
        "Plane": _planes(heatmap),
        "MapAnnotation": {
            "Namespace": "wsi-heatmap",
            "slide": source.slide_id,
            "model": source.model,
            "positive_class": heatmap.positive_class,
            "threshold": repr(heatmap.threshold),
            "bounds0": " ".join(map(str, heatmap.bounds0)),
            "cell0": f"{heatmap.cell0.x!r} {heatmap.cell0.y!r}",
        },
    }


def _planes(heatmap: Heatmap) -> dict[str, Any]:
    """Where each plane lies: the centre of the first cell."""
    cell, mpp, bounds0 = heatmap.cell_um, heatmap.slide_mpp, heatmap.bounds0
    count = len(heatmap.classes) + len(heatmap.channels)
    return {
        "PositionX": [bounds0.x * mpp.x + cell.x / 2] * count,
        "PositionXUnit": ["µm"] * count,
        "PositionY": [bounds0.y * mpp.y + cell.y / 2] * count,
        "PositionYUnit": ["µm"] * count,
    }


def _uuid(source: ExportSource) -> str:
    """Of the content: the format wants one, and a random one would make every file different."""
    digest = hashlib.sha256(source.heatmap.planes.tobytes()).hexdigest()
    return str(uuid5(NAMESPACE_URL, f"urn:wsi-heatmap:{source.slide_id}:{source.model}:{digest}"))
