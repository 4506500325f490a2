"""What a model is, in JSON: how to feed it, how to read its answer, where it comes from.

The file is a superset of the WSInfer model configuration 1.0 (seven fields, JSON schema in the
SBU-BMI/wsinfer-zoo repository): such a file loads as it is, and a card that is written here is one.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from models.appearance import Appearance
from models.calibration import Curve
from models.context import Context
from models.ensemble.members import Member, check_members, members_from_json
from models.errors import CardError, ModelError
from wsi.channels import CHANNELS
from wsi.geometry import MPP_RANGE, TILE_PX_RANGE, is_plausible_mpp

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ACTIVATIONS", "CARD_NAMES", "ModelCard", "file_sha256", "read_card", "write_card"]

ACTIVATIONS = ("softmax", "sigmoid")
CARD_NAMES = ("card.json", "config.json")  # in a model's own folder, the first wins
SPEC_VERSION = "1.0"
STEPS = ("Resize", "ToTensor", "Normalize")
IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
SHA256 = re.compile(r"[0-9a-f]{64}")

Rgb = tuple[float, float, float]
_REQUIRED: Any = object()


@dataclass(frozen=True)
class ModelCard:
    """Checked when it is made: CardError names the field, its value and what it may be.

    tile_px, mpp: side of a tile, and its resolution in um/px. input_px: side to which the network's
    input is resized. mean, std: of the pixels in 0..1, per channel. activation: of the logits
    divided by `temperature` (1 changes nothing). curves: instead of a temperature, see
    models.calibration: one, or with more than two classes one a class.
    threshold: on the probability of `positive_class`. weights_file: a name beside the card.
    weights_sha256: None only where a WSInfer file pins nothing. metrics: JSON, free of form; by
    custom name → {"value", "low", "high"}. members: of an ensemble; files beside the card.
    context: a second look at the scores of neighbours; None: the model has none.
    """

    name: str
    architecture: str
    classes: tuple[str, ...]
    positive_class: str
    tile_px: int
    mpp: float
    input_px: int
    threshold: float = 0.5
    mean: Rgb = (0.0, 0.0, 0.0)
    std: Rgb = (1.0, 1.0, 1.0)
    activation: str = "softmax"
    temperature: float = 1.0
    curves: tuple[Curve, ...] = ()
    weights_file: str | None = None
    weights_sha256: str | None = None
    version: str = "1"
    licence: str = "not stated"
    training_data: str = "not stated"
    split: str = "not stated"
    metrics: Mapping[str, Any] = field(default_factory=dict, hash=False)
    intended_use: str = "not stated"
    limits: tuple[str, ...] = ()
    members: tuple[Member, ...] = ()
    appearance: Appearance | None = None  # of what it learned from
    context: Context | None = None

    def __post_init__(self) -> None:
        _check_classes(self)
        _check_input(self)
        _check_output(self)
        _check_weights(self)
        check_members(self.members, self.architecture)
        if self.context is not None:
            self.context.require_weights(self.weights_sha256)

    @property
    def positive_index(self) -> int:
        return self.classes.index(self.positive_class)

    @property
    def is_calibrated(self) -> bool:
        """Whether probabilities differ from what the network says."""
        return bool(self.curves) or self.temperature != 1

    @property
    def sha256(self) -> str:
        """Of the card in canonical JSON: another card, other weights included, has another."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def identity(self) -> dict[str, Any]:
        """What a result names it by; JSON types."""
        return {
            "name": self.name,
            "version": self.version,
            "card_sha256": self.sha256,
            "weights_sha256": self.weights_sha256,
        }

    def require_tiles(self, rgb: NDArray[Any]) -> None:
        """Raises ModelError where these are not the tiles that the model takes."""
        if rgb.dtype != "uint8" or rgb.shape[1:] != (self.tile_px, self.tile_px, 3):
            raise ModelError(
                f"{self.name} takes uint8 tiles (n, {self.tile_px}, {self.tile_px}, 3), "
                f"not {rgb.dtype} {rgb.shape}; cut them as its card says"
            )

    def to_json(self) -> dict[str, Any]:
        normalize = {"mean": list(self.mean), "std": list(self.std)}
        members = [member.to_json() for member in self.members]
        return {
            "spec_version": SPEC_VERSION,
            "architecture": self.architecture,
            "num_classes": len(self.classes),
            "patch_size_pixels": self.tile_px,
            "spacing_um_px": self.mpp,
            "class_names": list(self.classes),
            "transform": [
                {"name": "Resize", "arguments": {"size": self.input_px}},
                {"name": "ToTensor"},
                {"name": "Normalize", "arguments": normalize},
            ],
            "name": self.name,
            "version": self.version,
            "positive_class": self.positive_class,
            "threshold": self.threshold,
            "activation": self.activation,
            "temperature": self.temperature,
            "weights": {"file": self.weights_file, "sha256": self.weights_sha256},
            "licence": self.licence,
            "training_data": self.training_data,
            "split": self.split,
            "metrics": dict(self.metrics),
            "intended_use": self.intended_use,
            "limits": list(self.limits),
            **_curves_to_json(self.curves),
            **({"members": members} if members else {}),
            **({"appearance": self.appearance.to_json()} if self.appearance else {}),
            **({"context": self.context.to_json()} if self.context else {}),
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any], name: str) -> ModelCard:
        """fields: the seven of WSInfer at least; `name` is the model's where they hold none.

        What WSInfer does not say is not left to a guess in silence: `limits` says it.
        """
        _check_spec(fields)
        classes = _texts(fields, "class_names")
        last = classes[-1] if classes else ""
        tile_px = _integer(fields, "patch_size_pixels")
        input_px, mean, std = _read_transform(_list(fields, "transform"), tile_px)
        weights = _mapping(fields, "weights")
        return cls(
            name=_text(fields, "name", name),
            architecture=_text(fields, "architecture"),
            classes=classes,
            positive_class=_text(fields, "positive_class", last),
            tile_px=tile_px,
            mpp=_number(fields, "spacing_um_px"),
            input_px=input_px,
            threshold=_number(fields, "threshold", 0.5),
            mean=mean,
            std=std,
            activation=_text(fields, "activation", ACTIVATIONS[len(classes) == 1]),
            temperature=_number(fields, "temperature", 1.0),
            curves=_read_curves(fields),
            weights_file=_text(weights, "file", None),
            weights_sha256=_text(weights, "sha256", None),
            version=_text(fields, "version", "1"),
            licence=_text(fields, "licence", "not stated"),
            training_data=_text(fields, "training_data", "not stated"),
            split=_text(fields, "split", "not stated"),
            metrics=_mapping(fields, "metrics"),
            intended_use=_text(fields, "intended_use", "not stated"),
            limits=_texts(fields, "limits", []) + _name_guesses(fields, last),
            members=members_from_json(_list(fields, "members", [])),
            appearance=_read_appearance(fields),
            context=Context.from_json(fields["context"]) if fields.get("context") else None,
        )


def read_card(path: Path) -> ModelCard:
    """A card, or a WSInfer `config.json`. Raises CardError, which names the file."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CardError(f"{path}: no model card can be read there ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise CardError(f"{path} is not JSON ({error}); a model card is") from error
    if not isinstance(fields, dict):
        raise CardError(f"{path} holds a JSON {type(fields).__name__}; a model card is an object")
    try:
        return ModelCard.from_json(fields, _name_from_path(path))
    except CardError as error:
        raise CardError(f"{path}: {error}") from error


def write_card(card: ModelCard, path: Path) -> None:
    """Whole or not at all."""
    from wsi.store.folder import partial_file

    text = json.dumps(card.to_json(), indent=1, ensure_ascii=False)
    with partial_file(path) as partial:
        partial.write_text(text + "\n", "utf-8")


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _name_from_path(path: Path) -> str:
    return path.absolute().parent.name if path.name in CARD_NAMES else path.stem


def _name_guesses(fields: Mapping[str, Any], last: str) -> tuple[str, ...]:
    guesses = {
        "positive_class": f"The positive class is not stated: the last one, {last}, is taken.",
        "threshold": "The threshold is not stated: 0.5, not chosen on data.",
        "temperature": "The probabilities are not calibrated.",
    }
    return tuple(sentence for key, sentence in guesses.items() if key not in fields)


def _check_spec(fields: Mapping[str, Any]) -> None:
    version = _text(fields, "spec_version")
    if version != SPEC_VERSION:
        raise CardError(f"spec_version is {version!r}; this program reads {SPEC_VERSION!r}")
    stated, named = _integer(fields, "num_classes"), len(_texts(fields, "class_names"))
    if stated != named:
        raise CardError(f"num_classes is {stated}, but class_names has {named}; make them agree")


def _check_classes(card: ModelCard) -> None:
    if not card.classes or len(set(card.classes)) < len(card.classes) or "" in card.classes:
        raise CardError(f"class_names is {list(card.classes)}; it needs one name a class, each new")
    taken = [name for name in card.classes if name in CHANNELS]
    if taken:
        raise CardError(f"class_names has {taken[0]!r}, the name of a heatmap's channel; rename it")
    if card.positive_class not in card.classes:
        raise CardError(
            f"positive_class is {card.positive_class!r}; it must be one of {list(card.classes)}"
        )
    if not IDENTIFIER.fullmatch(str(card.name)):
        raise CardError(f"name is {card.name!r}; use letters, digits and . _ + -")


def _check_input(card: ModelCard) -> None:
    least, most = TILE_PX_RANGE
    if not least <= card.tile_px <= most:
        raise CardError(f"patch_size_pixels is {card.tile_px}; use {least} to {most}")
    if not 1 <= card.input_px <= most:
        raise CardError(f"Resize to {card.input_px}: use 1 to {most} pixels")
    if not is_plausible_mpp(card.mpp):
        low, high = MPP_RANGE
        raise CardError(f"spacing_um_px is {card.mpp}; use {low} to {high:g} micrometres")
    if min(card.std) <= 0:
        raise CardError(f"std is {list(card.std)}; it divides the pixels and must be above 0")


def _check_output(card: ModelCard) -> None:
    if not 0 < card.threshold < 1:
        raise CardError(f"threshold is {card.threshold}; it is a probability between 0 and 1")
    if not card.temperature > 0:
        raise CardError(f"temperature is {card.temperature}; it divides the logits, use above 0")
    expected = {0, len(card.classes) if len(card.classes) > 2 else 1}
    if len(card.curves) not in expected or (card.curves and card.temperature != 1):
        raise CardError(
            f"{len(card.curves)} calibration curves and temperature {card.temperature}: use a "
            f"temperature, or {max(expected)} curves and temperature 1"
        )
    if card.activation not in ACTIVATIONS:
        raise CardError(f"activation is {card.activation!r}; use {' or '.join(ACTIVATIONS)}")
    if card.activation == "softmax" and len(card.classes) == 1:
        raise CardError("activation is 'softmax' of one class, which is always 1; use 'sigmoid'")


def _check_weights(card: ModelCard) -> None:
    file, sha256 = card.weights_file, card.weights_sha256
    if file is not None and (Path(file).name != file or "\\" in file):
        raise CardError(
            f"the weights' file is {file!r}; use a bare name, of a file beside the card"
        )
    if sha256 is not None and not SHA256.fullmatch(sha256):
        raise CardError(f"the weights' sha256 is {sha256!r}; it has 64 digits 0-9a-f")


def _read_transform(steps: list[Any], tile_px: int) -> tuple[int, Rgb, Rgb]:
    """WSInfer's list of steps → side of the input in px, mean, std."""
    names = [step.get("name") if isinstance(step, dict) else step for step in steps]
    if "ToTensor" not in names or names != [name for name in STEPS if name in names]:
        raise CardError(f"transform is {names}; it must be Resize, ToTensor, Normalize in order")
    of_step = {step["name"]: _mapping(step, "arguments") for step in steps}
    normalize = of_step.get("Normalize", {"mean": [0.0] * 3, "std": [1.0] * 3})
    input_px = _side(of_step["Resize"]) if "Resize" in of_step else tile_px
    return input_px, _rgb(normalize, "mean"), _rgb(normalize, "std")


def _curves_to_json(curves: tuple[Curve, ...]) -> dict[str, Any]:
    """Nothing where there are none: a card that has a temperature keeps its sha256."""
    if not curves:
        return {}
    return {"calibration": {"curves": [{"x": list(c.x), "y": list(c.y)} for c in curves]}}


def _read_curves(fields: Mapping[str, Any]) -> tuple[Curve, ...]:
    curves = _list(_mapping(fields, "calibration"), "curves", [])
    return tuple(Curve(_numbers(curve, "x"), _numbers(curve, "y")) for curve in curves)


def _read_appearance(fields: Mapping[str, Any]) -> Appearance | None:
    found = _mapping(fields, "appearance")
    return Appearance.from_json(found) if found else None


def _numbers(fields: Any, key: str) -> tuple[float, ...]:
    if not isinstance(fields, dict):
        raise CardError(f"a calibration curve is {fields!r:.80}; it must be an object with x and y")
    return tuple(_number({key: value}, key) for value in _list(fields, key))


def _side(arguments: Mapping[str, Any]) -> int:
    """Resize takes one side, or two: tiles are square, so two must agree."""
    size = _get(arguments, "size")
    if isinstance(size, list) and size and size.count(size[0]) == len(size) <= 2:
        return _integer({"size": size[0]}, "size")
    return _integer(arguments, "size")


def _rgb(fields: Mapping[str, Any], key: str) -> Rgb:
    values = _list(fields, key)
    if len(values) != 3:
        raise CardError(f"{key} is {values}; it needs three numbers, for red, green and blue")
    return cast("Rgb", tuple(_number({key: value}, key) for value in values))


def _get(fields: Mapping[str, Any], key: str, default: Any = _REQUIRED) -> Any:
    value = fields.get(key, default)
    if value is _REQUIRED:
        raise CardError(f"{key} is missing")
    return value


def _text(fields: Mapping[str, Any], key: str, default: Any = _REQUIRED) -> Any:
    value = _get(fields, key, default)
    if not isinstance(value, str) and value is not default:
        raise CardError(f"{key} is {value!r}; it must be text")
    return value


def _number(fields: Mapping[str, Any], key: str, default: Any = _REQUIRED) -> float:
    value = _get(fields, key, default)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not abs(value) <= sys.float_info.max:
        raise CardError(f"{key} is {value!r:.80}; it must be a number")
    return float(value)


def _integer(fields: Mapping[str, Any], key: str) -> int:
    value = _get(fields, key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise CardError(f"{key} is {value!r}; it must be a whole number")
    return value


def _list(fields: Mapping[str, Any], key: str, default: Any = _REQUIRED) -> list[Any]:
    value = _get(fields, key, default)
    if not isinstance(value, list):
        raise CardError(f"{key} is {value!r}; it must be a list")
    return value


def _texts(fields: Mapping[str, Any], key: str, default: Any = _REQUIRED) -> tuple[str, ...]:
    return tuple(_text({key: value}, key) for value in _list(fields, key, default))


def _mapping(fields: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = fields.get(key, {})
    if not isinstance(value, dict):
        raise CardError(f"{key} is {value!r}; it must be an object")
    return value
