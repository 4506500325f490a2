"""Which networks there are, and where a model's card and weights lie. No torch until `build`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from models.card import CARD_NAMES, ModelCard, file_sha256, read_card
from models.ensemble.members import ENSEMBLE
from models.errors import CardError, UnknownModel, WeightsError

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "CLASSIFIERS",
    "DEFAULT_MODEL",
    "MODELS",
    "ModelFiles",
    "build",
    "find_card",
    "list_models",
    "resolve_model",
]

# Architecture, as a card names it → builder (num_classes) -> nn.Module.
MODELS = {
    "resnet18": "models.networks.resnet:resnet18",
    "resnet18-stem1": "models.networks.resnet:resnet18_stem1",
    "resnet34": "models.networks.resnet:resnet34",
    "resnet50": "models.networks.resnet:resnet50",
    "resnet50v2": "models.networks.resnet_v2:resnet50v2",
    "vgg16": "models.networks.vgg:vgg16",
    "vgg19": "models.networks.vgg:vgg19",
    "efficientnet_b0": "models.networks.efficientnet:efficientnet_b0",
    "efficientnet_b3": "models.networks.efficientnet:efficientnet_b3",
    "densenet121": "models.networks.densenet:densenet121",
    "convnext_pico": "models.networks.convnext:convnext_pico",
    "vit_b_16": "models.networks.vit:vit_b_16",
    "vit_s_16": "models.networks.vit:vit_s_16",
    "breakhis-cnn": "models.networks.breakhis_cnn:breakhis_cnn",
}

# Architecture without a network → builder (card) -> Classifier.
CLASSIFIERS = {
    "mean-channel": "models.painted:MeanChannelClassifier",
}

DEFAULT_MODEL = "idc-resnet18"
SHIPPED = Path(__file__).parent / "weights"

SAFETENSORS = ".safetensors"
TORCHSCRIPT = (".pt", ".torchscript")
PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".pkl", ".pickle", ".tar")
WEIGHTS_NAMES = ("model.safetensors", "torchscript_model.pt")  # where WSInfer puts them


class ModelFiles(NamedTuple):
    """weights: None where the architecture needs none; those of an ensemble's members lie beside
    the card, see find_card()."""

    card: ModelCard
    weights: Path | None


def build(architecture: str, num_classes: int) -> nn.Module:
    """A network with random weights. Raises UnknownModel."""
    if architecture not in MODELS:
        raise UnknownModel(
            f"no architecture is named {architecture!r}; there are {', '.join(MODELS)} "
            "(a WSInfer model's TorchScript file brings its own)"
        )
    network: nn.Module = load_builder(MODELS[architecture])(num_classes)
    return network


def load_builder(address: str) -> Callable[..., Any]:
    """'module:attribute' → the attribute."""
    module, _, attribute = address.partition(":")
    builder: Callable[..., Any] = getattr(import_module(module), attribute)
    return builder


def list_models() -> list[ModelCard]:
    """The cards of the models that come with this package, by name."""
    return [read_card(path) for path in sorted(SHIPPED.glob("*.json"))]


def resolve_model(model: str | Path) -> ModelFiles:
    """The name of a shipped model; a folder, card or `config.json`; or weights beside their card.

    A shipped name wins over a file of the same name, so that the answer does not depend on where
    the program was started. Weights that their file does not pin are pinned here, as they are.
    Raises UnknownModel, CardError, WeightsError; the weights' bytes are checked when they load.
    """
    return _from_card(*_locate(model))


def find_card(model: str | Path) -> Path:
    """The file of the card that resolve_model() reads. Raises UnknownModel, CardError,
    WeightsError."""
    return _locate(model)[0]


def _locate(model: str | Path) -> tuple[Path, Path | None]:
    """The card, and the weights where they were named."""
    shipped = SHIPPED / f"{model}.json"
    if shipped.parent == SHIPPED and shipped.is_file():
        return shipped, None
    path = Path(model)
    if path.is_dir():
        return _card_in(path), None
    if not path.is_file():
        raise UnknownModel(_explain_missing(model))
    if path.suffix == ".json":
        return path, None
    cards = [path.with_suffix(".json"), *(path.with_name(name) for name in CARD_NAMES)]
    if path.suffix == SAFETENSORS:
        return _first_card(path, cards), path
    if path.suffix in TORCHSCRIPT and any(card.is_file() for card in cards):
        return _first_card(path, cards), path
    raise WeightsError(_explain_format(path))


def is_torchscript(weights: Path) -> bool:
    return weights.suffix in TORCHSCRIPT


def _from_card(card_path: Path, weights: Path | None = None) -> ModelFiles:
    card = read_card(card_path)
    if card.architecture in CLASSIFIERS:
        return ModelFiles(card, None)
    if card.architecture == ENSEMBLE:
        _require_members(card, card_path)
        return ModelFiles(card, None)
    weights = weights or _find_weights(card, card_path)
    if weights.suffix != SAFETENSORS and not is_torchscript(weights):
        raise WeightsError(_explain_format(weights))
    sha256 = card.weights_sha256 or file_sha256(weights)
    return ModelFiles(replace(card, weights_file=weights.name, weights_sha256=sha256), weights)


def _find_weights(card: ModelCard, card_path: Path) -> Path:
    """The file that the card names, else what lies beside it; safetensors where we can use it."""
    if card.weights_file is not None:
        named = card_path.with_name(card.weights_file)
        if named.is_file():
            return named
        raise WeightsError(f"{card_path} names the weights {named}, which are not there")
    beside = [card_path.with_suffix(SAFETENSORS), *map(card_path.with_name, WEIGHTS_NAMES)]
    found = [path for path in beside if path.is_file()]
    usable = [path for path in found if is_torchscript(path) or card.architecture in MODELS]
    if not found:
        raise WeightsError(f"{card_path}: no weights beside it; put {beside[0].name} there")
    return (usable or found)[0]


def _require_members(card: ModelCard, card_path: Path) -> None:
    if not card.members:
        raise CardError(f"{card_path} is the card of an ensemble and lists no members; add them")
    for member in card.members:
        if not card_path.with_name(member.file).is_file():
            raise WeightsError(
                f"{card_path} names the file {member.file} of its member {member.name}, which is "
                "not there; copy the whole folder"
            )


def _card_in(folder: Path) -> Path:
    """card.json or config.json; else, as in the folder of a run, the only JSON file there."""
    named = [folder / name for name in CARD_NAMES]
    others = list(folder.glob("*.json"))
    return _first_card(folder, named + (others if len(others) == 1 else []))


def _first_card(model: Path, cards: list[Path]) -> Path:
    found = next((card for card in cards if card.is_file()), None)
    if found is None:
        names = " or ".join(card.name for card in cards)
        wanted = f"put {names} with it"
        if model.is_dir():
            wanted += "; a model's folder holds that and, beside it, the weights (.safetensors)"
        raise CardError(f"{model} has no card; {wanted}")
    return found


def _explain_missing(model: str | Path) -> str:
    names = ", ".join(path.stem for path in sorted(SHIPPED.glob("*.json"))) or "none"
    return (
        f"no model is named {str(model)!r} (there are: {names}), and no such file or folder "
        "exists; give a folder with card.json or config.json, or a .safetensors file beside one"
    )


def _explain_format(path: Path) -> str:
    if path.suffix in PICKLES:
        return (
            f"{path} is a pickle, which can run code; convert it once with "
            f"`wsi models import {path}` and use the .safetensors file that it writes"
        )
    return f"{path} is no model: use .safetensors weights beside their card, or the card itself"
