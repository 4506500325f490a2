"""Heatmaps as files that other tools open."""

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from wsi.errors import InvalidOption
from wsi.export.source import ExportSource

__all__ = ["FRAMES", "WRITERS", "ExportSource", "export", "load_writer"]

WRITERS: dict[str, str] = {
    "ome-zarr": "wsi.export.ome_zarr:write",
    "ome-tiff": "wsi.export.ome_tiff:write",
    "csv": "wsi.export.tiles_csv:write",
    "hdf5": "wsi.export.hdf5:write",
    "geojson": "wsi.export.geojson:write",
    "png": "wsi.export.png:write_heatmap",
    "overlay": "wsi.export.png:write_overlay",
    "report": "wsi.export.report:write",
}
"""Format to the writer, `write(source, path, **options) -> Path`, in "module:function" form."""

FRAMES: Mapping[str, str] = {
    "ome-zarr": "um from the slide's top left corner, pixel centres; the transforms say so",
    "ome-tiff": "um from the slide's top left corner; PositionX, PositionY: first cell's centre",
    "csv": "level-0 px from the slide's top left corner",
    "hdf5": "level-0 px from the slide's top left corner",
    "geojson": "level-0 px from the corner that QuPath shows (the slide's bounds), unless asked",
    "png": "px of the picture; its text chunks origin0 and px0 place it on level 0",
    "overlay": "px of the picture, which shows the slide's bounds under a scale bar",
    "report": "tables: level-0 px from the slide's top left corner",
}
"""The frame of each format's coordinates, for manifests: a CSV has no place of its own for it."""

Writer = Callable[..., Path]


def export(source: ExportSource, format: str, path: Path, **options: Any) -> Path:
    """Writes `source` as `format` (a key of WRITERS) and returns the path.

    The file appears whole or not at all. Raises InvalidOption for an unknown format or option.
    """
    writer = load_writer(format)
    _check_options(writer, format, options)
    return writer(source, Path(path), **options)


def load_writer(format: str) -> Writer:
    """The writer of a format; InvalidOption, which names the formats there are, for another."""
    if format not in WRITERS:
        raise InvalidOption(f"export format {format!r} is unknown: use one of {', '.join(WRITERS)}")
    module, function = WRITERS[format].split(":")
    writer: Writer = getattr(import_module(module), function)
    return writer


def _check_options(writer: Writer, format: str, options: Mapping[str, Any]) -> None:
    known = list(inspect.signature(writer).parameters)[2:]
    unknown = [name for name in options if name not in known]
    if unknown:
        raise InvalidOption(
            f"export to {format} has no option {unknown[0]!r}: "
            + (f"use {', '.join(known)}" if known else "it has none")
        )
