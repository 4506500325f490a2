"""The tables of a recipe: its data, and the ways to train that have fields of their own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.datasets.cutting import HOW
from models.datasets.layouts import LAYOUTS
from models.errors import DatasetError
from models.training.fields import check_choice, check_fields, check_texts

__all__ = ["DataConfig", "FewShotConfig", "PretrainConfig", "TeachConfig", "refuse_unheard"]

SPLITS = ("idc", "drawn", "none")
UNHEARD = (
    "loss",
    "focal_gamma",
    "label_smoothing",
    "mixup",
    "batch_size",
    "teach",
    "sampler",
    "patient_tiles",
)
"""Fields of a recipe that episodes do not look at."""
SAMPLING = ("sampler", "patient_tiles")
"""Of these, those that a pretraining before the episodes does look at."""


@dataclass(frozen=True)
class DataConfig:
    """layout: a name of models.datasets.LAYOUTS; none: looked for. how: tile (as they are, padded
    with white), resize (the whole picture) or tiles (the picture cut up at the recipe's mpp).
    magnification: only pictures of this one; 0 takes all. subtypes: they are the classes. split:
    idc (the repository's, models/splits/idc.json), drawn (by patient, from `split_seed`, class
    shares alike within `tolerance`), none (validated on what it learned from), or a file of
    `wsi data split`, .json, below the working folder where its path is not absolute. limit: most
    tiles of a class in a part; 0 takes all.
    """

    layout: str = ""
    how: str = "tile"
    magnification: int = 0
    subtypes: bool = False
    split: str = "idc"
    split_seed: int = 0
    tolerance: float = 0.05
    limit: int = 0

    def __post_init__(self) -> None:
        ranges = {
            "magnification": (0, 1000),
            "split_seed": (0, 2**62),
            "tolerance": (0, 1),
            "limit": (0, 10**9),
        }
        check_fields(self, ranges, "data")
        if self.layout:
            check_choice("data.layout", self.layout, tuple(LAYOUTS))
        check_choice("data.how", self.how, tuple(HOW))
        if self.split_file is None:
            check_choice("data.split", self.split, (*SPLITS, "or a file, .json"))

    @property
    def split_file(self) -> Path | None:
        return Path(self.split) if self.split.endswith(".json") else None


@dataclass(frozen=True)
class PretrainConfig:
    """Self-supervised training that comes before, where ImageNet weights are not to be had.

    learning_rate: for batches of 256; that of others is in proportion, as in SimSiam's paper.
    """

    epochs: int = 20
    crop_px: int = 40
    batch_size: int = 128
    learning_rate: float = 0.05
    weight_decay: float = 1e-4

    def __post_init__(self) -> None:
        ranges = {
            "epochs": (1, 10**6),
            "crop_px": (1, 4096),
            "batch_size": (2, 10**6),
            "learning_rate": (0, 1e3),
            "weight_decay": (0, 1),
        }
        check_fields(self, ranges, "pretrain")


@dataclass(frozen=True)
class FewShotConfig:
    """Episodes of prototypical networks. shots: support tiles of a class, queries: tiles of a class
    that are told apart by them; 0 shots: no episodes. episodes: in an epoch.
    """

    shots: int = 0
    queries: int = 5
    episodes: int = 50

    def __post_init__(self) -> None:
        ranges = {"shots": (0, 10**6), "queries": (1, 10**6), "episodes": (1, 10**6)}
        check_fields(self, ranges, "few_shot")


@dataclass(frozen=True)
class TeachConfig:
    """Distillation (models.training.teaching). teachers: names of recipes whose finished runs lie
    in the same folder of runs; none: only the labels teach. share: of the teachers' mean answer in
    what is learned, 0 to 1; the label has the rest. true_colours: teachers are shown the tiles
    before `augment` changes their colours, the learner after.
    """

    teachers: tuple[str, ...] = ()
    share: float = 0.5
    true_colours: bool = False

    def __post_init__(self) -> None:
        check_fields(self, {"share": (0, 1)}, "teach")
        check_texts("teach.teachers", self.teachers)


def refuse_unheard(recipe: Any, plain: Any) -> None:
    """Raises DatasetError where a recipe of episodes says what episodes do not look at.

    plain: a recipe that says nothing.
    """
    may_sample = recipe.start == "imagenet" and recipe.without_imagenet == "pretrain"
    heard = SAMPLING if may_sample and recipe.sampler != "balanced" else ()
    said = [
        name
        for name in UNHEARD
        if name not in heard and getattr(recipe, name) != getattr(plain, name)
    ]
    if said:
        raise DatasetError(
            f"recipe {recipe.name} learns by episodes (few_shot.shots = {recipe.few_shot.shots}), "
            f"which do not look at {said[0]}: each has as many tiles of every class, and plain "
            f"cross entropy; leave {said[0]} out, or set few_shot.shots to 0"
        )
