"""What this machine has, and what limits it."""

import platform
import tempfile
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from wsi.cores import usable_cores

__all__ = ["LIBRARIES", "examine"]

LIBRARIES = (
    "numpy",
    "scipy",
    "scikit-image",
    "opencv-python-headless",
    "pillow",
    "openslide-python",
    "openslide-bin",
    "tiffslide",
    "tifffile",
    "imagecodecs",
    "zarr",
    "fsspec",
    "s3fs",
    "h5py",
    "dask",
    "torch",
    "torchvision",
    "safetensors",
    "scikit-learn",
    "skops",
    "openvino",
)

PHANTOM_PX = 12_000


def examine(
    *, throughput: bool = True, device: str = "auto", tunings: Path | None = None
) -> dict[str, Any]:
    """Libraries, devices, readers and models; a small throughput test where asked for.

    tunings: folder of what service.tuning.tune() kept.
    """
    from service.tuning import describe_tunings

    facts = {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": usable_cores(),  # of this process
        "libraries": {name: _version(name) for name in LIBRARIES},
        "averages": _averages(),
        "readers": _readers(),
        "devices": _devices(),
        "models": _models(),
    }
    if tunings is not None:
        facts["tuning"] = describe_tunings(tunings, device)
    return facts | ({"throughput": _throughput(device, tunings)} if throughput else {})


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _averages() -> str:
    from wsi.resample import why_not_compiled

    reason = why_not_compiled()
    return f"by SciPy: {reason}" if reason else "compiled"


def _readers() -> dict[str, str]:
    from wsi.readers import READERS

    return {name: _state(address) for name, address in READERS.items()}


def _state(address: str) -> str:
    """Whether a reader's libraries load: a broken one is what a doctor is asked about."""
    try:
        import_module(address.partition(":")[0])
        if "openslide" in address:
            return f"ready, OpenSlide {import_module('openslide').__library_version__}"
    except (ImportError, OSError) as error:
        return f"not usable: {error}"
    return "ready"


def _devices() -> dict[str, str]:
    import torch

    threads = torch.get_num_threads()
    count = f"{threads} thread{'s' if threads != 1 else ''}"
    devices = {"cpu": f"{count}, {torch.backends.cpu.get_cpu_capability()}"}
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        devices[f"cuda:{index}"] = f"{properties.name}, {properties.total_memory >> 20} MiB"
    if torch.backends.mps.is_available():
        devices["mps"] = "Apple GPU"
    return devices


def _models() -> dict[str, str]:
    """Every shipped model's weights against the sha256 that its card pins."""
    from models.card import file_sha256
    from models.registry import list_models, resolve_model

    states = {}
    for card in list_models():
        weights = resolve_model(card.name).weights
        sound = weights is None or file_sha256(weights) == card.weights_sha256
        states[card.name] = "weights as pinned" if sound else "WEIGHTS DIFFER from their sha256"
    return states


def _throughput(device: str, tunings: Path | None) -> dict[str, Any]:
    """The default model on a small phantom: whether reading or the network is the limit."""
    from service.forecast import forecast
    from service.request import HeatmapRequest
    from wsi.phantom import draw_phantom

    with tempfile.TemporaryDirectory() as folder:
        slide = Path(folder, "phantom.tiff")
        draw_phantom(slide, size_px=PHANTOM_PX)
        facts = forecast(HeatmapRequest(slide=str(slide), device=device), tunings=tunings)
    names = ("tiles", "read_tiles_a_second", "network_tiles_a_second", "limit")
    return {name: facts[name] for name in names}
