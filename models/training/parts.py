"""The tiles that a recipe trains on, and those that it is validated with."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from models.datasets import LabelledStore, Pictures, require_trainable, shared_store
from models.datasets.memory import free_bytes
from models.datasets.stratification import draw_stratified
from models.errors import DatasetError
from models.recipe import TrainConfig
from models.split import Split, read_split, require_apart
from models.training.crops import require_crops
from models.training.parallel import Processes
from models.training.pictures import open_pictures

__all__ = ["Parts", "read_parts"]

IDC_SPLIT = "By patient, models/splits/idc.json"
UNSPLIT = "None: validated on the training tiles, so its figures say only that it can learn them."
MEMORY_SHARE = 0.5
"""Of the memory that is free: what is left is for the network, and for whoever else is there."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """split: a sentence for the card."""

    training: LabelledStore
    validation: LabelledStore
    split: str


def read_parts(config: TrainConfig, data: Path, stores: Path, processes: Processes) -> Parts:
    """stores: folder for decoded pictures, which other recipes of the same data share.

    Raises DatasetError where the data are not those of the recipe, lack a class, or a part of the
    split; or where its network cannot take its crops.
    """
    if not config.ensemble.members:
        require_crops(config)
    if not processes.is_first:
        processes.wait()  # until the first has decoded the pictures
    parts = _read(config, data, stores)
    if processes.is_first:
        processes.wait()
    if config.data.limit:
        parts = replace(
            parts,
            training=_limited(parts.training, config),
            validation=_limited(parts.validation, config),
        )
    return _in_memory(parts, processes)


def _read(config: TrainConfig, data: Path, stores: Path) -> Parts:
    asked = config.data
    pictures = open_pictures(config, data)
    require_trainable(pictures, config.classes)
    own = _read_own(asked.split_file, pictures) if asked.split_file else None
    mpp = config.mpp if asked.how == "tiles" else None
    store = shared_store(pictures, stores, how=asked.how, px=config.tile_px, mpp=mpp)
    if asked.split == "none":
        return Parts(store, store, UNSPLIT)
    if asked.split == "idc":
        return _divide_idc(store, data)
    if own is not None:
        return _divide(store, *own, data)
    split = draw_stratified(store.pictures, asked.split_seed, tolerance=asked.tolerance)
    return _divide(store, split, split.method, data)


def _read_own(file: Path, pictures: Pictures) -> tuple[Split, str]:
    """With its sentence."""
    split = read_split(file)
    unit = "patient" if pictures.patients_known else "picture"
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    return split, f"By {unit}, {file.name} (sha256 {sha256[:12]}). {split.method}"


def _divide(store: LabelledStore, split: Split, told: str, data: Path) -> Parts:
    require_apart(store.pictures, split)
    parts = Parts(split.take(store, "train"), split.take(store, "validation"), told)
    for label, name in enumerate(store.classes):
        if not (parts.training.label == label).any():
            raise DatasetError(
                f"{data}: none of the {len(parts.training)} training tiles of the split is of "
                f"class {name}; training needs every class"
            )
    if not len(parts.validation):
        raise DatasetError(f"{data}: the split leaves no picture to validate with; add patients")
    return parts


def _divide_idc(store: LabelledStore, data: Path) -> Parts:
    """Of the validation patients only those that are sampled, not complete."""
    split = read_split()
    require_apart(store.pictures, split)
    parts = {
        "train": split.take(store, "train"),
        "validation": split.take(store, "validation", complete=False),
    }
    for part, mine in parts.items():
        if len(set(mine.label.tolist())) < 2:
            raise DatasetError(
                f"{data} has {len(mine)} {part} tiles, of {len(mine.patients)} sampled patients; "
                "training needs tiles of both classes there (the split: models/splits/idc.json); "
                "or name a split of your own as data.split"
            )
    return Parts(parts["train"], parts["validation"], IDC_SPLIT)


def _limited(tiles: LabelledStore, config: TrainConfig) -> LabelledStore:
    """At most `limit` tiles of each class, the same in every run."""
    rng = np.random.default_rng(config.seed)
    label = tiles.label
    drawn = [
        rng.permutation(np.flatnonzero(label == one))[: config.data.limit]
        for one in range(len(config.classes))
    ]
    return tiles.select(np.sort(np.concatenate(drawn)))


def _in_memory(parts: Parts, processes: Processes) -> Parts:
    """With their pixels in memory where they fit there, for each of the processes."""
    is_one = parts.training is parts.validation
    both = [parts.training] if is_one else [parts.training, parts.validation]
    needed = processes.count * sum(len(tiles) * tiles.px**2 * 3 for tiles in both)
    if needed > MEMORY_SHARE * free_bytes():
        logger.info("%d MiB of tiles stay on the disk, to be read batch by batch", needed >> 20)
        return parts
    held = [tiles.in_memory() for tiles in both]
    return replace(parts, training=held[0], validation=held[-1])
