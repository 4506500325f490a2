"""Which layers learn: the others keep the weights that they came with, batch norms' too."""

from __future__ import annotations

from torch import nn

from models.errors import DatasetError

__all__ = ["FREEZING", "embedding_layers", "freeze", "head_name", "set_training"]

FREEZING = ("none", "backbone", "all-but-4-layers", "all-but-2-blocks")
"""none: everything learns. backbone: the head alone does. all-but-4-layers, all-but-2-blocks: for
VGG, the last four convolutions and poolings learn, or the last two blocks between poolings."""


def head_name(network: nn.Module) -> str:
    """The child that answers with classes: what is above the features that others may share."""
    *_, (last, _) = network.named_parameters()
    return last.partition(".")[0]


def freeze(network: nn.Module, plan: str) -> None:
    """Raises DatasetError where the network has no such layers."""
    if plan == "none":
        return
    learning = set(network.get_submodule(head_name(network)).parameters())
    if plan != "backbone":
        for layer in _last_layers(network, plan):
            learning |= set(layer.parameters())
    for parameter in network.parameters():
        parameter.requires_grad = parameter in learning


def set_training(network: nn.Module) -> None:
    """Training mode; a layer that does not learn neither drops out nor counts statistics."""
    network.train()
    for layer in network.modules():
        parameters = list(layer.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            layer.eval()


def embedding_layers(network: nn.Module) -> nn.Module:
    """The same network, its last linear layer taken away: float (n, features)."""
    *_, (last, _) = network.named_parameters()
    network.set_submodule(last.rpartition(".")[0], nn.Identity())
    return network


def _last_layers(network: nn.Module, plan: str) -> list[nn.Module]:
    features = getattr(network, "features", None)
    kinds = [type(layer) for layer in features] if isinstance(features, nn.Sequential) else []
    if not isinstance(features, nn.Sequential) or nn.MaxPool2d not in kinds:
        raise DatasetError(
            f"recipe: freeze is {plan!r}, which is for VGG; "
            f"{type(network).__name__} takes none or backbone"
        )
    if plan == "all-but-4-layers":
        return [layer for layer in features if not isinstance(layer, nn.ReLU)][-4:]
    poolings = [i for i, kind in enumerate(kinds) if kind is nn.MaxPool2d]
    return list(features[poolings[-3] + 1 :])
