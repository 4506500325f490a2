"""An ensemble from its recipe: networks trained one by one, then what looks at their features."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.card import ModelCard, read_card
from models.datasets import Labelled
from models.ensemble.classical import fit_classical
from models.ensemble.classifier import load_ensemble
from models.ensemble.features import DeepNetwork, load_member
from models.ensemble.files import save_classical
from models.ensemble.members import Member
from models.errors import DatasetError
from models.network import choose_device
from models.recipe import TrainConfig, read_recipe, shrunk
from models.training.crops import require_crops
from models.training.looks import appearance_of
from models.training.parallel import Processes, is_first_process
from models.training.parts import Parts, read_parts
from models.training.release import Origin, make_card, measure_classes, publish
from models.training.sides import name_sides, write_sides
from wsi.store.folder import partial_file

__all__ = ["member_recipes", "train_ensemble"]

BATCHES = 16  # of a network's, read at a time

Float32Array = npt.NDArray[np.float32]

logger = logging.getLogger(__name__)


def train_ensemble(
    config: TrainConfig,
    data: Path,
    out: Path,
    train_member: Callable[[TrainConfig], Path],
    *,
    device: str,
    stores: Path,
) -> Path:
    """Writes `out/<name>.json` and, beside it, a file a member; returns the path of the card.

    train_member: trains a recipe in its own folder, or goes on with it, and returns its card's
    path. What follows takes minutes, and is done again where it was stopped: it ends in the same
    files. Raises DatasetError where members do not fit together.
    """
    recipes = member_recipes(config)
    for recipe in recipes:  # before the first of them is trained
        require_crops(recipe)
    cards = [read_card(train_member(recipe)) for recipe in recipes]
    path = out / f"{config.name}.json"
    if not is_first_process():
        return path
    parts = read_parts(config, data, stores, Processes(choose_device(device)))
    networks = tuple(_take(card, out) for card in cards)
    draft = _draft(config, cards, parts, networks)
    classical = _fit_classical(config, draft, parts.training, out, device)
    card = replace(draft, members=(*networks, *classical))
    answers = _ask(card, parts.validation, out, device)
    alone = _measure_alone(card, answers, parts.validation)
    card = replace(card, metrics={**card.metrics, "members": alone})
    write_sides(parts, config, out)
    return publish(config, card, answers.mean(0), parts.validation, out)


def member_recipes(config: TrainConfig) -> list[TrainConfig]:
    """On the data and with the seed of the ensemble: one split for all.

    Raises DatasetError where one has other classes or tiles, or is an ensemble itself.
    """
    recipes = []
    for name in config.ensemble.members:
        recipe = read_recipe(name, config.ensemble.changes)
        recipe = shrunk(recipe) if config.ensemble.is_small else recipe
        _require_alike(config, recipe)
        recipes.append(replace(recipe, data=config.data, seed=config.seed))
    return recipes


def _require_alike(config: TrainConfig, member: TrainConfig) -> None:
    if member.ensemble.members:
        raise DatasetError(f"recipe {config.name}: its member {member.name} is an ensemble, too")
    for name in ("classes", "tile_px", "mpp"):
        asked, found = getattr(config, name), getattr(member, name)
        if asked != found:
            raise DatasetError(
                f"recipe {config.name}: {name} is {asked}, but of its member {member.name} "
                f"{found}; they have to be equal, classes in the same order"
            )


def _take(card: ModelCard, out: Path) -> Member:
    """A member as it was trained; its weights copied beside the ensemble's card."""
    assert card.weights_file is not None  # release() wrote them
    assert card.weights_sha256 is not None
    with partial_file(out / card.weights_file) as partial:
        shutil.copyfile(out / card.name / card.weights_file, partial)
    return Member(
        name=card.name,
        architecture=card.architecture,
        file=card.weights_file,
        sha256=card.weights_sha256,
        input_px=card.input_px,
        mean=card.mean,
        std=card.std,
    )


def _draft(
    config: TrainConfig, cards: Sequence[ModelCard], parts: Parts, networks: tuple[Member, ...]
) -> ModelCard:
    """With the networks alone, so that their features can be asked for."""
    import sklearn

    own = config.card.get("limits", ())
    limits = dict.fromkeys(limit for card in cards for limit in card.limits if limit not in own)
    of_each = {card.name: dict(card.metrics.get("training", {})) for card in cards}
    training = {
        "members": of_each,
        "epochs": max(one["epochs"] for one in of_each.values()),
        **{
            name: sum(one[name] for one in of_each.values())
            for name in ("seconds", "parameters", "learning_parameters")
        },
        "tiles": len(parts.training),
        "patients": len(parts.training.patients),
        **name_sides(parts),
        "scikit_learn": sklearn.__version__,
    }
    appearance = appearance_of(parts.training, config.mpp)
    origin = Origin(parts.split, tuple(limits), training, appearance)
    card = make_card(config, None, None, origin)
    return replace(card, members=networks)


def _fit_classical(
    config: TrainConfig, card: ModelCard, training: Labelled, out: Path, device: str
) -> list[Member]:
    rows = _draw(len(training), config)
    kinds = config.ensemble.classical
    if not kinds:
        return []
    logger.info("ensemble %s: features of %d training tiles", config.name, len(rows))
    features = _extract(card, training, rows, out, device)
    label, group = training.label[rows], training.patient[rows]
    members = []
    for kind in kinds:
        logger.info("ensemble %s: %s on %d features", config.name, kind, features.shape[1])
        made = fit_classical(kind, features, label, group, config.ensemble, config.seed)
        file = out / f"{config.name}-{kind}.skops"
        sha256 = save_classical(made, config.classes, file)
        members.append(Member(kind, kind, file.name, sha256))
    return members


def _draw(count: int, config: TrainConfig) -> npt.NDArray[np.int64]:
    rng = np.random.default_rng([config.seed, count])
    return np.sort(rng.permutation(count)[: config.ensemble.most])


def _extract(
    card: ModelCard, tiles: Labelled, rows: npt.NDArray[np.int64], out: Path, device: str
) -> Float32Array:
    """Features of all networks, float32 (rows, width), of the tiles as they are."""
    networks = [
        load_member(card, member, out, device, precision="float32") for member in card.members
    ]
    try:
        return np.concatenate([_look(networks, tiles.batch(part)) for part in _steps(rows, card)])
    finally:
        for network in networks:
            network.close()


def _look(networks: Sequence[DeepNetwork], rgb: npt.NDArray[np.uint8]) -> Float32Array:
    return np.concatenate([network.look(rgb).features for network in networks], 1)


def _ask(card: ModelCard, tiles: Labelled, out: Path, device: str) -> Float32Array:
    """Each member's probabilities, float32 (members, n, classes), from the files as written."""
    rows = np.arange(len(tiles))
    with closing(load_ensemble(card, out, device, precision="float32")) as ensemble:
        answers = [ensemble.ask_members(tiles.batch(part)) for part in _steps(rows, card)]
    return np.concatenate(answers, 1)


def _steps(rows: npt.NDArray[np.int64], card: ModelCard) -> list[npt.NDArray[np.int64]]:
    """Rows whose pixels are in memory at once."""
    step = max(1, BATCHES * 128 * 50 * 50 // card.tile_px**2)
    return [rows[start : start + step] for start in range(0, len(rows), step)]


def _measure_alone(card: ModelCard, answers: Float32Array, validation: Labelled) -> dict[str, Any]:
    """What each member would answer without the others, by tile."""
    found = {}
    for member, prob in zip(card.members, answers, strict=True):
        of_member = measure_classes(validation.label, prob, card.classes)
        found[member.name] = {name: of_member[name] for name in ("accuracy", "f1_macro")}
    return found
