"""The files of a finished result, as its manifest vouches for them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from service.errors import NotFound
from service.outputs import OUTPUTS
from service.results import ResultFolder
from wsi.errors import StoreIncomplete
from wsi.store.folder import ATTRIBUTES

__all__ = [
    "ARTEFACTS",
    "ZARR",
    "Artefact",
    "Kept",
    "kept_file",
    "planes_of",
    "read_manifest",
    "zarr_summary",
]

ZARR = OUTPUTS["ome-zarr"].file

KEPT_MANIFESTS = 256
"""Parsed ones; of a result with 100,000 tiles about 60 kB each."""


@dataclass(frozen=True)
class Artefact:
    """A file of a result, the last part of its address, and what it is."""

    name: str
    file: str
    media_type: str
    query: str = ""

    @property
    def href(self) -> str:
        return self.name + self.query


ARTEFACTS: tuple[Artefact, ...] = (
    Artefact("heatmap.tif", OUTPUTS["ome-tiff"].file, "image/tiff"),
    Artefact("heatmap.geojson.gz", OUTPUTS["geojson"].file, "application/gzip", "?kind=tiles"),
    Artefact("heatmap.geojson.gz", OUTPUTS["regions"].file, "application/gzip", "?kind=regions"),
    Artefact("tiles.csv", OUTPUTS["csv"].file, "text/csv; charset=utf-8"),
    Artefact("overlay.png", OUTPUTS["overlay"].file, "image/png"),
    Artefact("tiles.h5", OUTPUTS["hdf5"].file, "application/x-hdf5"),
    Artefact("report.html", OUTPUTS["report"].file, "text/html; charset=utf-8"),
)
"""By address; a result has those that were asked for. heatmap.png is drawn when it is asked for."""


@dataclass(frozen=True)
class Kept:
    """A file, with what its manifest says of it."""

    path: Path
    sha256: str
    size_bytes: int

    @property
    def etag(self) -> str:
        return f'"{self.sha256}"'


@lru_cache(maxsize=KEPT_MANIFESTS)
def read_manifest(folder: Path) -> Mapping[str, Any]:
    """Of a finished result, which never changes. Raises StoreIncomplete."""
    manifest = ResultFolder(folder).manifest()
    if manifest is None:
        raise StoreIncomplete(f"{folder}: a result without a manifest")
    return MappingProxyType(manifest)


def kept_file(folder: Path, file: str) -> Kept:
    """A file by its path in the result. Raises NotFound for all that the manifest does not name:
    no request makes a path."""
    entry = read_manifest(folder)["outputs"].get(file)
    if entry is None:
        raise NotFound(f"the result has no {Path(file).name}")
    return Kept(folder / file, entry["sha256"], entry["size_bytes"])


def zarr_summary(folder: Path) -> tuple[str, int]:
    """sha256 and size in bytes of the OME-Zarr: that of the lines `<sha256>  <key>`, as sha256sum
    writes them, sorted by key."""
    entries = {
        name.removeprefix(f"{ZARR}/"): entry
        for name, entry in read_manifest(folder)["outputs"].items()
        if name.startswith(f"{ZARR}/")
    }
    lines = "".join(f"{entries[key]['sha256']}  {key}\n" for key in sorted(entries))
    size = sum(entry["size_bytes"] for entry in entries.values())
    return hashlib.sha256(lines.encode()).hexdigest(), size


@lru_cache(maxsize=KEPT_MANIFESTS)
def planes_of(folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The model's classes and the heatmap's channels, in the order in which its planes follow each
    other. Results of before there were channels have none."""
    own = json.loads((folder / ZARR / "zarr.json").read_text("utf-8"))["attributes"][ATTRIBUTES]
    return tuple(own["classes"]), tuple(own.get("channels", ()))
