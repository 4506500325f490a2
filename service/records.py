"""What is written down about a piece of work: the manifest, and the record of the run."""

import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from models.card import ModelCard
from service.request import HeatmapRequest
from service.results import MANIFEST_SCHEMA, object_hashes, work_sha256
from wsi import __version__
from wsi.address import public_path
from wsi.cores import usable_cores
from wsi.export.source import ExportSource
from wsi.identity import slide_identity
from wsi.slide import SlideInfo
from wsi.tiler import TilePlan

__all__ = ["NativeReads", "describe_run", "describe_slide", "describe_work", "manifest_of"]

LIBRARIES = ("numpy", "torch", "torchvision", "zarr", "openslide-python", "tiffslide", "tifffile")


def describe_work(
    request: HeatmapRequest,
    info: SlideInfo,
    card: ModelCard,
    should_stop: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """Everything that determines the result, and nothing else: equal work is done once.

    should_stop: as of slide_identity().
    """
    return {
        "slide": describe_slide(info, should_stop),
        "model": card.identity,
        "parameters": request.parameters(),
        "software": {"wsi-heatmap": __version__},
    }


@dataclass
class NativeReads:
    """Native tiles of the slide's file, as one run counts them."""

    needed: int = 0  # by the tiles that it scored
    read: int = 0

    def add(self, count: int) -> None:
        self.read += count

    def to_json(self) -> dict[str, int | float | None]:
        """None where another run had scored everything."""
        ratio = self.read / self.needed if self.needed else None
        return {
            "native_tiles_needed": self.needed,
            "native_tiles_read": self.read,
            "read_per_needed": ratio,
        }


def manifest_of(
    work: Mapping[str, Any], source: ExportSource, plan: TilePlan, folder: Path
) -> dict[str, Any]:
    """The work, its outcome, and every file below `folder` with its sha256."""
    return {
        "schema": MANIFEST_SCHEMA,
        "work_sha256": work_sha256(work),
        **work,
        "outcome": "heatmap" if len(source.prob) else "no-tissue",
        "frame": "level-0 pixels of the slide, top left origin; GeoJSON: cropped to its bounds",
        "grid": source.grid.to_json(),
        "tiles": len(source.prob),
        "reading": {"level": plan.level, "native_tiles": plan.native_tiles},
        "mask": {
            "method": source.mask.method,
            "mpp": source.mask.mpp,
            "px0": list(source.mask.px0),
        },
        "summary": dict(source.summary),
        "warnings": list(source.warnings),
        "outputs": object_hashes(folder),
    }


def describe_run(
    request: HeatmapRequest, seconds: Mapping[str, float], device: str, reads: NativeReads
) -> dict[str, Any]:
    """When, how long, on what: differs from run to run, so it stands outside every hash."""
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "request": asdict(request) | {"slide": public_path(request.slide)},
        "seconds": {stage: round(spent, 3) for stage, spent in seconds.items()},
        "device": device,
        "reading": reads.to_json(),
        "host": {
            "machine": platform.machine(),
            "system": platform.platform(),
            "cores": usable_cores(),  # of this process: reading uses up to 8
            "network_threads": _network_threads(),
        },
        "python": platform.python_version(),
        "libraries": _library_versions(),
    }


@cache
def _library_versions() -> dict[str, str]:
    return {name: version(name) for name in LIBRARIES}  # 1 ms each


def _network_threads() -> int | None:
    """Of torch on the CPU; None where nothing loaded it."""
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch else None


def describe_slide(
    info: SlideInfo, should_stop: Callable[[], bool] | None = None
) -> dict[str, Any]:
    """Which slide it is, `id` above all, and what its file says. Reads all of its files;
    should_stop: as of slide_identity()."""
    identity = slide_identity(info, should_stop)
    return {
        "name": info.name,
        "id": identity.get("sha256") or work_sha256(identity),
        "identity": identity,
        "reader": info.reader,
        "vendor": info.vendor,
        "size0": list(info.size),
        "mpp": list(info.mpp) if info.mpp else None,
        "mpp_source": info.mpp_source,
        "objective_power": info.objective_power,
        "bounds0": list(info.bounds) if info.bounds else None,
    }
