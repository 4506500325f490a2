"""The default model's weights as its peers take them, without this project's code."""

import warnings
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision.models import resnet18

from benchmarks.contracts import Contract, write_model
from models.registry import resolve_model

__all__ = ["write_peer_model"]


def write_peer_model(contract: Contract, folder: Path) -> Path:
    """card.json, weights.safetensors, weights.pt (TorchScript); see peers.job.Job.

    Peers know no temperature: it divides the last layer, so that a softmax of its answer is the
    calibrated probability.
    """
    write_model(contract, folder)
    card, weights = resolve_model(folder)
    assert weights is not None
    tensors = load_file(weights)
    for name in ("fc.weight", "fc.bias"):
        tensors[name] = tensors[name] / card.temperature
    save_file(tensors, folder / "weights.safetensors")
    network = resnet18(num_classes=len(card.classes))
    network.load_state_dict(tensors)
    _save_torchscript(network.eval(), folder / "weights.pt")
    return folder


def _save_torchscript(network: nn.Module, path: Path) -> None:
    with warnings.catch_warnings(), torch.inference_mode():
        # torch points at torch.export, which WSInfer does not read
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(network), str(path))
