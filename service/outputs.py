"""The files of a result, by the name that a person asks for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wsi.errors import InvalidOption

__all__ = ["OUTPUTS", "Output", "require_outputs"]


@dataclass(frozen=True)
class Output:
    file: str
    format: str  # key of wsi.export.WRITERS
    options: Mapping[str, Any] = field(default_factory=dict)


OUTPUTS: dict[str, Output] = {
    "ome-zarr": Output("heatmap.zarr", "ome-zarr", {"overwrite": True}),
    "ome-tiff": Output("heatmap.ome.tiff", "ome-tiff"),
    "png": Output("heatmap.png", "png"),
    "overlay": Output("overlay.png", "overlay"),
    "csv": Output("tiles.csv", "csv"),
    "hdf5": Output("tiles.h5", "hdf5"),
    "geojson": Output("tiles.geojson.gz", "geojson", {"kind": "tiles"}),
    "regions": Output("regions.geojson.gz", "geojson", {"kind": "regions"}),
    "report": Output("report.html", "report"),
}


def require_outputs(names: Iterable[str]) -> None:
    """Raises InvalidOption for a name that is no output, before any work is done."""
    for name in names:
        if name not in OUTPUTS:
            raise InvalidOption(f"format {name!r} is unknown: use one of {', '.join(OUTPUTS)}")
