"""ImageNet weights: torchvision's own files, converted once and kept by architecture.

Nothing is downloaded: who wants them brings the file.
"""

from __future__ import annotations

from pathlib import Path

from models.checkpoint import import_state_dict
from models.errors import UnknownModel, WeightsError
from models.registry import MODELS
from wsi.store.places import require_file_place

__all__ = ["IMAGENET", "architecture_of", "find_imagenet", "imagenet_file", "import_weights"]

IMAGENET = Path.home() / ".cache" / "wsi" / "imagenet"
"""Where converted weights lie: <architecture>.safetensors."""

SUFFIX = ".safetensors"
SAME_WEIGHTS = "-stem1"  # another stride, the same weights


def imagenet_file(architecture: str) -> str:
    """The name of torchvision's file, "resnet18-f37072fd.pth". Raises UnknownModel."""
    from torchvision import models

    try:
        url: str = models.get_model_weights(architecture)["IMAGENET1K_V1"].url
    except (ValueError, KeyError) as error:
        raise UnknownModel(
            f"torchvision has no ImageNet weights of {architecture!r}; name a file of weights"
        ) from error
    return url.rpartition("/")[2]


def architecture_of(file: str) -> str | None:
    """The architecture whose ImageNet weights torchvision calls so."""
    for architecture in MODELS:
        try:
            if imagenet_file(architecture) == file:
                return architecture
        except UnknownModel:
            continue
    return None


def import_weights(
    source: str, out: Path | None = None, folder: Path = IMAGENET
) -> tuple[Path, str]:
    """A file of PyTorch weights, or the name of an architecture whose ImageNet file lies in the
    working directory → safetensors; their path, and the sha256 to pin.

    out: None puts torchvision's ImageNet weights where training looks for them, and others beside
    their file. Raises WeightsError; InvalidOption where that would replace the file itself.
    """
    pth = Path(source)
    if source in MODELS and not pth.exists():
        pth = Path(imagenet_file(source))
        if not pth.is_file():
            raise WeightsError(
                f"ImageNet weights of {source} are in torchvision's file {pth}, which is not in "
                f"{Path.cwd()}; get it on a machine with a network and put it there, or give its "
                "path"
            )
    architecture = architecture_of(pth.name) if out is None else None
    target = folder / f"{architecture}{SUFFIX}" if architecture else pth.with_suffix(SUFFIX)
    require_file_place(out or target, inputs=[pth])
    return out or target, import_state_dict(pth, out or target)


def find_imagenet(architecture: str, folder: Path = IMAGENET) -> Path:
    """The converted weights of an architecture. Raises WeightsError that says how to get them."""
    architecture = architecture.removesuffix(SAME_WEIGHTS)
    path = folder / f"{architecture}{SUFFIX}"
    if path.is_file():
        return path
    file = imagenet_file(architecture)
    raise WeightsError(
        f"no ImageNet weights of {architecture} at {path}; get torchvision's {file} on a machine "
        f"with a network and run `wsi models import {file}` here, or name weights with --weights"
    )
