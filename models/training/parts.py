"""The tiles that a recipe trains on, and those that it is validated with."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from models.datasets import (
    LabelledStore,
    TileSet,
    decoded,
    load_tiles,
    open_data,
    require_trainable,
)
from models.datasets.stratification import draw_stratified
from models.errors import DatasetError
from models.recipe import TrainConfig
from models.split import read_split, require_apart, require_tiles_apart
from models.training.parallel import Processes

__all__ = ["Parts", "read_parts"]

IDC_SPLIT = "By patient, models/splits/idc.json"
UNSPLIT = "None: validated on the training tiles, so its figures say only that it can learn them."


@dataclass(frozen=True)
class Parts:
    """split: a sentence for the card."""

    training: TileSet | LabelledStore
    validation: TileSet | LabelledStore
    split: str


def read_parts(config: TrainConfig, data: Path, stores: Path, processes: Processes) -> Parts:
    """stores: folder for decoded pictures, which other recipes of the same data share.

    Raises DatasetError where the data lack a class, or a part of the split.
    """
    read = _read_idc if config.data.split == "idc" else _read_drawn
    if not processes.is_first:
        processes.wait()  # until the first has decoded the pictures
    parts = read(config, data, stores)
    if processes.is_first:
        processes.wait()
    if not config.data.limit:
        return parts
    return replace(
        parts,
        training=_limited(parts.training, config),
        validation=_limited(parts.validation, config),
    )


def _read_idc(config: TrainConfig, data: Path, stores: Path) -> Parts:
    """Of the validation patients only those that are sampled, not complete."""
    tiles = load_tiles(data)
    require_trainable(tiles, config.classes)
    split = read_split()
    require_tiles_apart(tiles, split)
    parts = {
        "train": split.take(tiles, "train"),
        "validation": split.take(tiles, "validation", complete=False),
    }
    for part, mine in parts.items():
        if len(set(mine.label.tolist())) < 2:
            raise DatasetError(
                f"{data} has {len(mine)} {part} tiles, of {len(mine.patients)} sampled patients; "
                f"training needs tiles of both classes there (the split: models/splits/idc.json)"
            )
    return Parts(parts["train"], parts["validation"], IDC_SPLIT)


def _read_drawn(config: TrainConfig, data: Path, stores: Path) -> Parts:
    asked = config.data
    pictures = open_data(
        data,
        asked.layout or None,
        magnification=asked.magnification or None,
        subtypes=asked.subtypes,
    )
    if pictures.classes != config.classes:
        raise DatasetError(
            f"{data} has the classes {', '.join(pictures.classes)}, but recipe {config.name} is "
            f"for {', '.join(config.classes)}; name its data, or change the recipe's classes"
        )
    require_trainable(pictures, config.classes)
    store = decoded(
        pictures,
        stores / _store_name(config, data),
        how=asked.how,
        px=config.tile_px,
        mpp=config.mpp if asked.how == "tiles" else None,
    )
    if asked.split == "none":
        return Parts(store, store, UNSPLIT)
    split = draw_stratified(store.pictures, asked.split_seed, tolerance=asked.tolerance)
    require_apart(store.pictures, split)
    parts = Parts(split.take(store, "train"), split.take(store, "validation"), split.method)
    if not len(parts.validation):
        raise DatasetError(f"{data}: the split leaves no picture to validate with; add patients")
    return parts


def _store_name(config: TrainConfig, data: Path) -> str:
    """Another one for each folder and each way to cut it."""
    asked = config.data
    way = f"{data.resolve()} {asked.layout} {asked.how} {asked.magnification} {config.mpp}"
    digest = hashlib.sha256(way.encode()).hexdigest()[:8]
    return f"{data.resolve().name}-{asked.how}-{config.tile_px}px-{digest}.zarr"


def _limited(tiles: TileSet | LabelledStore, config: TrainConfig) -> TileSet | LabelledStore:
    """At most `limit` tiles of each class, the same in every run."""
    rng = np.random.default_rng(config.seed)
    label = tiles.label
    drawn = [
        rng.permutation(np.flatnonzero(label == one))[: config.data.limit]
        for one in range(len(config.classes))
    ]
    return tiles.select(np.sort(np.concatenate(drawn)))
