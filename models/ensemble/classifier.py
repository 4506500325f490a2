"""Networks, and classical classifiers of their features, as one classifier: their mean answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.calibration import calibrated
from models.card import ModelCard
from models.ensemble.features import DeepNetwork, load_member
from models.ensemble.files import load_classical
from models.errors import ModelError

__all__ = ["EnsembleClassifier", "load_ensemble"]

LEAST_BATCH = 32  # a forest's trees are asked one by one: 40 ms a call, however few the tiles

Float32Array = NDArray[np.float32]


class EnsembleClassifier:
    """The mean of all members' probabilities, calibrated: pooled first and calibrated after, as
    Rahaman & Thiery 2021 (arXiv:2007.08792) found best. Used by one thread at a time.
    """

    def __init__(
        self,
        card: ModelCard,
        networks: Sequence[DeepNetwork],
        classical: Mapping[str, Any],
        batch_size: int | None = None,
    ) -> None:
        """networks, classical (by name): in the order of the card's members."""
        self.card = card
        least = networks[0].batch_size  # of as many as were asked for on each core
        self.batch_size = max(least, min(LEAST_BATCH, batch_size or LEAST_BATCH))
        self._networks = list(networks)
        self._classical = dict(classical)

    @property
    def device(self) -> str:
        place = self._networks[0].place
        return f"{place}, {len(self._networks)} networks and {len(self._classical)} classical"

    def predict(self, rgb: NDArray[np.uint8]) -> Float32Array:
        return calibrated(self.card, self.predict_raw(rgb))

    def predict_raw(self, rgb: NDArray[np.uint8]) -> Float32Array:
        """Classifier.predict_raw: the members' mean."""
        return np.asarray(self.ask_members(rgb).mean(0, dtype=np.float64), np.float32)

    def ask_members(self, rgb: NDArray[np.uint8]) -> Float32Array:
        """Uncalibrated, in the order of the card: (members, n, classes). Raises ModelError."""
        self.card.require_tiles(rgb)
        if not len(rgb):  # scikit-learn takes no empty batch
            return np.empty((len(self.card.members), 0, len(self.card.classes)), np.float32)
        looks = [network.look(rgb) for network in self._networks]
        features = np.concatenate([look.features for look in looks], 1)
        answers = [look.prob for look in looks]
        for name, estimator in self._classical.items():
            answers.append(_classify(self.card, name, estimator, features))
        return np.stack(answers)

    def close(self) -> None:
        for network in self._networks:
            network.close()
        self._classical = {}


def load_ensemble(
    card: ModelCard,
    folder: Path,
    device: str = "auto",
    *,
    batch_size: int | None = None,
    precision: str = "auto",
) -> EnsembleClassifier:
    """The card's members, whose files lie in `folder`. Raises ModelError."""
    networks = [
        load_member(card, member, folder, device, batch_size=batch_size, precision=precision)
        for member in card.members
        if member.is_network
    ]
    width = sum(network.feature_count for network in networks)
    classical = {
        member.name: load_classical(folder / member.file, member.sha256, card.classes, width)
        for member in card.members
        if not member.is_network
    }
    return EnsembleClassifier(card, networks, classical, batch_size)


def _classify(card: ModelCard, name: str, estimator: Any, features: Float32Array) -> Float32Array:
    try:
        prob = np.asarray(estimator.predict_proba(features), np.float32)
    except ValueError as error:  # features that are not finite: float16 on a GPU overflows
        raise ModelError(
            f"{card.name}: its member {name} cannot use the networks' features ({error}); use "
            "precision float32"
        ) from error
    if prob.shape != (len(features), len(card.classes)) or not np.isfinite(prob).all():
        raise ModelError(
            f"{card.name}: its member {name} answers with {prob.shape} or numbers that are not "
            "finite; copy the ensemble's files again"
        )
    return prob
