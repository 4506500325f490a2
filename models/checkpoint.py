"""Weights on disk: safetensors only, float16 on disk, float32 in memory, pinned by sha256."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from models.card import file_sha256
from models.errors import WeightsError
from models.pickles import read_pickled
from wsi.store.folder import partial_file

__all__ = ["import_state_dict", "load_backbone", "load_weights", "read_weights", "save_weights"]

State = Mapping[str, Tensor]

# Trainers wrap the state dict under one of these names.
WRAPPERS = ("state_dict", "model_state_dict", "model")
PARALLEL_PREFIX = "module."
NAMED_DIGEST = re.compile(r"-(?P<digest>[0-9a-f]{8})\.pth$")
DENSE_LAYER = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")
COUNTER = "num_batches_tracked"  # of batch norms; weights of before 2018 lack it


def save_weights(
    weights: nn.Module | State,
    path: Path,
    dtype: torch.dtype | None = torch.float16,
    classes: Sequence[str] | None = None,
) -> str:
    """Writes safetensors, whole or not at all; the sha256 of the file.

    dtype: of floating-point tensors on disk; None keeps each as it is. classes: written into the
    file, and compared with the card's when it is loaded. Raises WeightsError where a value does
    not fit the dtype.
    """
    state = weights.state_dict() if isinstance(weights, nn.Module) else weights
    stored = {name: _stored(name, tensor, dtype) for name, tensor in state.items()}
    # one key at most: safetensors writes several in random order, and equal weights shall be equal
    metadata = {"classes": json.dumps(list(classes))} if classes else {"format": "pt"}
    content = save(stored, metadata)
    with partial_file(path) as partial:
        partial.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def read_weights(path: Path, sha256: str | None = None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors as stored, and the file's metadata. Raises WeightsError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: the weights cannot be read ({error.strerror})") from error
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256:
        raise WeightsError(
            f"{path} has sha256 {found}, but its card pins {sha256}; "
            "copy the weights again, or use the card that came with them"
        )
    try:
        return load(content), _metadata(content)
    except (SafetensorError, ValueError) as error:
        raise WeightsError(
            f"{path} is no whole safetensors file ({error}); copy the weights again"
        ) from error


def load_weights(
    network: nn.Module, path: Path, sha256: str | None, classes: Sequence[str]
) -> nn.Module:
    """Fills the network in float32; `classes` are the card's. Raises WeightsError."""
    state, metadata = read_weights(path, sha256)
    stated = _stated_classes(metadata, path)
    if stated not in (None, list(classes)):
        raise WeightsError(f"{path} was trained for {stated}, but its card has {list(classes)}")
    head = _head(network)
    if head in state and len(state[head]) != len(classes):
        raise WeightsError(
            f"{path} answers with {len(state[head])} classes, but its card has {len(classes)}: "
            f"{', '.join(classes)}"
        )
    _fill(network, state, path, kept=frozenset())
    return network


def load_backbone(network: nn.Module, path: Path, sha256: str | None = None) -> nn.Module:
    """Fills all but the head, which stays as it was built: weights of other classes.

    Where the number of classes happens to be equal the head is left alone too.
    """
    state, _ = read_weights(path, sha256)
    head = _head(network).partition(".")[0] + "."
    own = network.state_dict()
    kept = frozenset(name for name in own if name.startswith(head) or name.endswith(COUNTER))
    given = {name: state[name] for name in state if not name.startswith(head)}
    _fill(network, {name: given[name] for name in given.keys() - kept}, path, kept)
    return network


def import_state_dict(pth: Path, out: Path) -> str:
    """A PyTorch state dict → safetensors of the same dtypes; the sha256 to pin.

    Nothing is unpickled. torchvision ends the name of a file with a dash and the first digits of
    its sha256: such a file is checked. Raises WeightsError.
    """
    _check_name(pth)
    return save_weights(_state_from(read_pickled(pth), pth), out, dtype=None)


def _check_name(pth: Path) -> None:
    stated = NAMED_DIGEST.search(pth.name)
    if stated and pth.is_file() and not file_sha256(pth).startswith(stated["digest"]):
        raise WeightsError(
            f"{pth} is not the file that its name says: its sha256 does not begin with "
            f"{stated['digest']}; download it again, or rename it"
        )


def _stored(name: str, tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    # its own memory: two names of one tensor cannot be stored
    kept = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    if dtype is None or not kept.is_floating_point():
        return kept
    cast = kept.to(dtype)
    if not torch.isfinite(cast).all():
        raise WeightsError(
            f"{name} has values up to {kept.abs().max():g} that are not finite in {dtype}; "
            "save in torch.float32"
        )
    return cast


def _metadata(content: bytes) -> dict[str, str]:
    """The format: eight bytes of length (little endian), then that many of JSON."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    metadata: dict[str, str] = header.get("__metadata__", {})
    return metadata


def _stated_classes(metadata: Mapping[str, str], path: Path) -> Any:
    """The list that save_weights() wrote; None where another program wrote the file."""
    try:
        return json.loads(metadata.get("classes", "null"))
    except (ValueError, RecursionError) as error:
        raise WeightsError(
            f"{path}: its classes are {metadata['classes']!r:.80}, no JSON list; "
            "save the weights again without them"
        ) from error


def _head(network: nn.Module) -> str:
    """The name of the last layer's last parameter: as many rows as there are classes."""
    return [name for name, _ in network.named_parameters()][-1]


def _fill(network: nn.Module, state: State, path: Path, kept: frozenset[str]) -> None:
    wanted = {name: tensor for name, tensor in network.state_dict().items() if name not in kept}
    wrong = [
        *(f"{name} is missing" for name in wanted.keys() - state.keys()),
        *(f"{name} is unknown" for name in state.keys() - wanted.keys()),
        *(
            f"{name} is {tuple(state[name].shape)} instead of {tuple(wanted[name].shape)}"
            for name in wanted.keys() & state.keys()
            if state[name].shape != wanted[name].shape
        ),
    ]
    if wrong:
        raise WeightsError(
            f"{path} holds another network than {type(network).__name__}: {min(wrong)}"
            f"{f' and {len(wrong) - 1} more' if len(wrong) > 1 else ''}; check the architecture"
        )
    network.load_state_dict(
        {name: _float32(tensor) for name, tensor in state.items()}, strict=False
    )


def _float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _state_from(loaded: Any, pth: Path) -> dict[str, Tensor]:
    for key in WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not loaded:
        raise WeightsError(f"{pth} holds a {type(loaded).__name__}; a state dict is needed")
    for name, value in loaded.items():
        if not isinstance(value, Tensor):
            raise WeightsError(
                f"{pth}: {name!r} is a {type(value).__name__}, not a tensor; save its state_dict()"
            )
    return {_renamed(str(name)): tensor for name, tensor in loaded.items()}


def _renamed(name: str) -> str:
    """As torchvision names a parameter today: its DenseNet is stored with dots that are none."""
    return DENSE_LAYER.sub(r"\1\2", name.removeprefix(PARALLEL_PREFIX))
