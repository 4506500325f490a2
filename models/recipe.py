"""How a model is trained: a flat record, read from a TOML file."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from models.ensemble.config import EnsembleConfig, refuse_learning
from models.errors import DatasetError
from models.training.augment import AugmentConfig
from models.training.fields import check_choice, check_fields, check_rgb, check_texts
from models.training.freezing import FREEZING
from models.training.losses import LOSSES
from models.training.schedules import SCHEDULES, scale_rate
from models.training.tables import (
    DataConfig,
    FewShotConfig,
    PretrainConfig,
    TeachConfig,
    refuse_unheard,
)
from wsi.geometry import MPP_RANGE, TILE_PX_RANGE

__all__ = [
    "RECIPES",
    "DataConfig",
    "FewShotConfig",
    "PretrainConfig",
    "TeachConfig",
    "TrainConfig",
    "parse_changes",
    "read_recipe",
    "shrunk",
]

RECIPES = Path(__file__).parent / "recipes"

RANGES = {
    "tile_px": TILE_PX_RANGE,
    "mpp": MPP_RANGE,
    "seed": (0, 2**62),
    "input_px": (0, 4096),
    "decay_epochs": (0, 10**6),
    "warmup_epochs": (0, 10**6),
    "patience": (0, 10**6),
    "rate_factor": (1e-6, 1),
    "stop_after": (0, 10**6),
    "batch_size": (2, 10**6),
    "patient_tiles": (1, 10**9),
    "learning_rate": (0, 1e3),
    "momentum": (1e-3, 0.9999),  # Nesterov's needs some
    "weight_decay": (0, 1),
    "clip": (0, 1e6),
    "focal_gamma": (0, 10),
    "label_smoothing": (0, 0.99),
    "mixup": (0, 100),
    "ema": (0, 0.999999),
    "validate_every": (1, 10**6),
    "bootstrap_rounds": (1, 10**6),
}
"""Smallest and largest value."""

CHOICES = {
    "start": ("random", "imagenet"),
    "without_imagenet": ("refuse", "pretrain", "random"),
    "freeze": FREEZING,
    "sampler": ("patients", "all", "balanced"),
    "optimizer": ("sgd", "adamw"),
    "schedule": tuple(SCHEDULES),
    "loss": tuple(LOSSES),
    "precision": ("auto", "float32", "bfloat16", "float16"),
    "watch": ("loss", "auc", "accuracy"),
    "keep": ("last", "best"),
    "calibration": ("none", "temperature", "isotonic", "auto"),
}

SMOKE_TILES = 8
SMOKE_BATCH = 4
SMOKE_PX = 64


@dataclass(frozen=True)
class TrainConfig:
    """phases: (epochs, crop_px) one after the other; a smaller crop is a cheaper visit.
    input_px: the side that the network sees, where it is not the tile's own; 0: the tile's own.
    start: random or imagenet. without_imagenet: what comes in their place where they are missing.
    freeze: which layers do not learn (models.training.freezing).
    sampler: patients (at most `patient_tiles` of each patient in an epoch), all, or balanced (drawn
    with replacement, each class as often).
    schedule: of models.training.schedules. decay_epochs: the last epochs, over which the rate falls
    to zero (linear, cosine); before, it is constant after a linear warm-up. So a recipe with fewer
    epochs repeats the start of a longer. patience, rate_factor: validations without a better one
    before the rate falls (plateau), and to which share. stop_after: validations without a better
    one before training stops; 0: never. watch: what better means. keep: the last or the best
    weights. calibration: none, temperature, isotonic, or auto, which compares the three on held-out
    validation patients (models.training.fitting).
    clip: largest norm of all gradients; 0: any. focal_gamma: of the focal loss.
    precision: auto is bfloat16 where the device computes it, else float16 on a GPU and float32 on a
    CPU.
    ema: decay per step of the averaged weights, which are what is validated and kept.
    mixup: alpha of mixup (Zhang et al. 2018, arXiv:1710.09412); 0 switches it off.
    mean, std: of the training tiles' pixels in 0..1, per channel.
    ensemble: its members; a recipe that names some trains no network of its own.
    bootstrap_rounds: for the intervals in the card. positive_class: the last one where none is
    named. reported: what the authors of a reproduced system report.
    card: texts that the model's card takes over: licence, training_data, intended_use, limits.
    Raises DatasetError where a value is none that training can use.
    """

    name: str
    architecture: str = "resnet18"
    classes: tuple[str, ...] = ("non_idc", "idc")
    positive_class: str = ""
    tile_px: int = 50
    mpp: float = 4.0
    input_px: int = 0
    seed: int = 0
    start: str = "random"
    without_imagenet: str = "refuse"
    freeze: str = "none"
    sampler: str = "patients"
    phases: tuple[tuple[int, int], ...] = ((28, 40), (14, 48), (3, 50))
    schedule: str = "linear"
    decay_epochs: int = 27
    warmup_epochs: int = 2
    patience: int = 0
    rate_factor: float = 0.1
    stop_after: int = 0
    watch: str = "loss"
    keep: str = "last"
    calibration: str = "temperature"
    batch_size: int = 128
    patient_tiles: int = 128
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    clip: float = 0.0
    loss: str = "cross-entropy"
    focal_gamma: float = 2.0
    label_smoothing: float = 0.05
    mixup: float = 0.2
    ema: float = 0.995
    precision: str = "auto"
    validate_every: int = 2
    mean: tuple[float, float, float] = (0.816, 0.618, 0.720)
    std: tuple[float, float, float] = (0.141, 0.210, 0.152)
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    few_shot: FewShotConfig = field(default_factory=FewShotConfig)
    teach: TeachConfig = field(default_factory=TeachConfig)
    ensemble: EnsembleConfig = field(default_factory=EnsembleConfig)
    bootstrap_rounds: int = 1000
    reported: str = ""
    card: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            check_choice(name, getattr(self, name), known)
        check_fields(self, RANGES)
        check_texts("classes", self.classes, least=2)
        if self.positive_class:
            check_choice("positive_class", self.positive_class, self.classes)
        check_rgb("mean", self.mean, (0, 1))
        check_rgb("std", self.std, (0, 1))
        if not isinstance(self.card, Mapping):
            raise DatasetError(f"recipe: card is {self.card!r}; use a table of texts")
        if not self.ensemble.members:
            _check_learning(self)

    @property
    def positive_index(self) -> int:
        return self.classes.index(self.positive_class or self.classes[-1])

    @property
    def blank_label(self) -> int:
        """The class of empty glass, where tiles are replaced by it; else 0."""
        named = self.augment.blank_class if self.augment.blank else ""
        return self.classes.index(named) if named else 0

    @property
    def epochs(self) -> int:
        return sum(epochs for epochs, _ in self.phases)

    def crop_px(self, epoch: int) -> int:
        ends = np.cumsum([epochs for epochs, _ in self.phases])
        return self.phases[int(np.searchsorted(ends, epoch, side="right"))][1]

    def rate(self, epoch: float) -> float:
        """Learning rate at a real-valued epoch."""
        return self.learning_rate * scale_rate(
            self.schedule,
            epoch,
            self.epochs,
            warmup_epochs=self.warmup_epochs,
            decay_epochs=self.decay_epochs,
        )

    def to_json(self) -> str:
        """All that decides what the weights become."""
        said = asdict(replace(self, card={}, reported=""))
        del said["ensemble"]  # of several networks, each of which has its own recipe
        del said["calibration"]  # comes after them
        # as in runs that are older than the fields
        if not self.augment.blank_class:
            del said["augment"]["blank_class"]
        if self.augment.colours == 1:
            del said["augment"]["colours"]
        if not self.teach.true_colours:
            del said["teach"]["true_colours"]
        return json.dumps(said, sort_keys=True)


TABLES = {
    "data": DataConfig,
    "augment": AugmentConfig,
    "pretrain": PretrainConfig,
    "few_shot": FewShotConfig,
    "teach": TeachConfig,
    "ensemble": EnsembleConfig,
}


def read_recipe(source: str | Path, changes: Mapping[str, Any] | None = None) -> TrainConfig:
    """A recipe of this project by its name, or a TOML file with the fields of TrainConfig.

    changes: fields in the place of those in the file, whole tables merged. Raises DatasetError
    where it is neither, or a value is none that training can use.
    """
    path = Path(source)
    if path.suffix != ".toml":
        path = RECIPES / f"{source}.toml"
    try:
        said = _merged(tomllib.loads(path.read_text("utf-8")), changes or {})
        tables = {name: _table(kind, name, said.get(name, {})) for name, kind in TABLES.items()}
        config: TrainConfig = _table(TrainConfig, "", said | tables)
    except FileNotFoundError as error:
        known = ", ".join(sorted(found.stem for found in RECIPES.glob("*.toml")))
        raise DatasetError(f"no recipe {source}; use {known}, or a .toml file") from error
    except (OSError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise DatasetError(f"{path} is not a training recipe ({error})") from error
    if config.ensemble.members:
        refuse_learning(config, TrainConfig(config.name))
    elif config.few_shot.shots:
        refuse_unheard(config, TrainConfig(config.name))
    return config


def _table(kind: type[Any], name: str, said: Any) -> Any:
    """Raises DatasetError where that is no table, or has a field that its kind lacks."""
    if not isinstance(said, dict):
        raise DatasetError(f"recipe: {name} is {said!r}; it is a table, set {name}.FIELD")
    known = [field.name for field in fields(kind)]
    if strange := sorted(set(said) - set(known)):
        prefix = f"{name}." if name else ""
        raise DatasetError(
            f"recipe: there is no field {prefix}{strange[0]}; use {', '.join(known)}"
        )
    return kind(**said)


def parse_changes(texts: Sequence[str]) -> dict[str, Any]:
    """ "learning_rate=0.01" or "data.magnification=100": a field, and its value as TOML has it.

    A value that is none in TOML is text. Raises DatasetError where there is no "=".
    """
    changes: dict[str, Any] = {}
    for text in texts:
        field_name, is_there, value = text.partition("=")
        if not is_there or not field_name.strip():
            raise DatasetError(f"--set {text}: use FIELD=VALUE, as in learning_rate=0.01")
        *table, name = field_name.strip().split(".")
        holder = changes
        for part in table:
            holder = holder.setdefault(part, {})
            if not isinstance(holder, dict):
                raise DatasetError(
                    f"--set {text}: {part} was set to {holder!r} before, and that has no fields; "
                    "leave one of the two out"
                )
        holder[name] = _value(value.strip())
    return changes


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text


def shrunk(config: TrainConfig) -> TrainConfig:
    """The same recipe in seconds: two epochs of a few tiles, to see that everything runs.

    Without its teachers, which would have to be trained first.
    """
    split = "none" if config.data.split == "drawn" else config.data.split  # of a few pictures
    is_whole = config.input_px or all(crop == config.tile_px for _, crop in config.phases)
    crop_px = config.tile_px if is_whole else min(config.tile_px, SMOKE_PX)
    return replace(
        config,
        name=f"{config.name}-smoke",
        phases=((2, crop_px),),
        warmup_epochs=0,
        decay_epochs=1,
        batch_size=SMOKE_BATCH,
        learning_rate=config.learning_rate * SMOKE_BATCH / config.batch_size,
        validate_every=1,
        data=replace(config.data, limit=max(2, SMOKE_TILES // len(config.classes)), split=split),
        pretrain=replace(
            config.pretrain, epochs=1, batch_size=SMOKE_BATCH, crop_px=min(crop_px, SMOKE_PX)
        ),
        few_shot=replace(
            config.few_shot, episodes=1, queries=1, shots=min(config.few_shot.shots, 1)
        ),
        teach=TeachConfig(),
        ensemble=config.ensemble.shrunk(),
        bootstrap_rounds=20,
    )


def _merged(said: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Tuples for lists, all the way down; a table keeps what its change does not name."""
    merged: dict[str, Any] = _tuples(dict(said))
    for name, value in _tuples(dict(changes)).items():
        is_table = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = merged[name] | value if is_table else value
    return merged


def _check_learning(config: TrainConfig) -> None:
    """Of one network. Raises DatasetError."""
    is_list = isinstance(config.phases, tuple) and config.phases
    if not is_list or not all(_is_phase(phase, config.tile_px) for phase in config.phases):
        raise DatasetError(
            f"recipe: phases is {config.phases!r}; use pairs of epochs and crop, the crop at "
            f"most {config.tile_px} px"
        )
    may_pretrain = config.start == "imagenet" and config.without_imagenet == "pretrain"
    if may_pretrain and config.pretrain.crop_px > config.tile_px:
        raise DatasetError(
            f"recipe: pretrain.crop_px is {config.pretrain.crop_px}; use at most tile_px, "
            f"{config.tile_px}"
        )
    if config.sampler == "balanced" and config.loss == "weighted":
        raise DatasetError(
            "recipe: sampler is 'balanced' and loss is 'weighted', which both make rare classes "
            "count as much as others: together they would count more; use one of the two"
        )
    if config.augment.blank:
        _check_blank(config)


def _check_blank(config: TrainConfig) -> None:
    """Raises DatasetError where empty glass would be learned as a class that it is not."""
    share, named = config.augment.blank, config.augment.blank_class
    if config.few_shot.shots:
        raise DatasetError(
            f"recipe: augment.blank is {share}, but the tiles of an episode keep their classes: "
            "empty glass would be learned as each of them; set augment.blank to 0"
        )
    if named:
        check_choice("augment.blank_class", named, config.classes)
    elif len(config.classes) > 2 or config.positive_index == 0:
        raise DatasetError(
            f"recipe: augment.blank is {share}, but which of {', '.join(config.classes)} empty "
            "glass is, is not said; name it as augment.blank_class, or set augment.blank to 0"
        )


def _is_phase(phase: Any, tile_px: int) -> bool:
    return (
        isinstance(phase, tuple)
        and [type(value) for value in phase] == [int, int]
        and phase[0] >= 1
        and 1 <= phase[1] <= tile_px
    )


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
