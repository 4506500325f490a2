"""How a model's raw probabilities are corrected, found on the validation tiles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from models.calibration import Curve, calibrated
from models.card import ModelCard
from models.metrics import fit_temperature

__all__ = ["CALIBRATIONS", "fit_calibration"]

METHODS = ("none", "temperature", "isotonic")  # the first of equally good ones is taken
CALIBRATIONS = (*METHODS, "auto")

LEAST_PROBABILITY = 1e-7
DIGITS = 4
FOLDS = 5

Probs = npt.NDArray[np.floating]
Labels = npt.NDArray[np.int64]


def fit_calibration(
    card: ModelCard, method: str, raw: Probs, label: Labels, patient: npt.NDArray[np.str_]
) -> tuple[ModelCard, Mapping[str, Any]]:
    """The card with its calibration, and JSON of how it was chosen.

    method: of CALIBRATIONS. auto takes the one with the least log loss over FOLDS folds by patient,
    in which no patient helps to correct its own tiles. raw: float (n, classes). label: indices of
    the card's classes.
    """
    if method != "auto":
        return _fit(card, method, raw, label), {"method": method}
    losses = {name: _held_out_loss(card, name, raw, label, patient) for name in METHODS}
    chosen = min(METHODS, key=losses.__getitem__)
    told = {name: round(loss, DIGITS) for name, loss in losses.items()}
    return _fit(card, chosen, raw, label), {"method": chosen, "held_out_log_loss": told}


def _fit(card: ModelCard, method: str, raw: Probs, label: Labels) -> ModelCard:
    if method == "none":
        return replace(card, temperature=1.0, curves=())
    if method == "temperature":
        logit = np.log(np.maximum(raw, LEAST_PROBABILITY))
        temperature = round(fit_temperature(logit, label), DIGITS)
        return replace(card, temperature=temperature, curves=())
    which = range(len(card.classes)) if len(card.classes) > 2 else [card.positive_index]
    curves = tuple(_fit_curve(raw[:, i], label == i) for i in which)
    return replace(card, temperature=1.0, curves=curves)


def _fit_curve(raw: Probs, is_it: npt.NDArray[np.bool_]) -> Curve:
    """Isotonic regression. Its ends would be 0 and 1 of a few tiles, and a tile beyond them
    impossible: they are kept away from there as by Laplace's rule of succession."""
    from sklearn.isotonic import IsotonicRegression

    count = len(raw)
    fitted = IsotonicRegression(
        y_min=1 / (count + 2), y_max=(count + 1) / (count + 2), out_of_bounds="clip"
    ).fit(raw.astype(np.float64), is_it.astype(np.float64))
    return Curve(tuple(fitted.X_thresholds_.tolist()), tuple(fitted.y_thresholds_.tolist()))


def _held_out_loss(
    card: ModelCard, method: str, raw: Probs, label: Labels, patient: npt.NDArray[np.str_]
) -> float:
    total = 0.0
    for held_out in _folds(patient):
        corrected = _fit(card, method, raw[~held_out], label[~held_out])
        prob = calibrated(corrected, raw[held_out])
        mine = prob[np.arange(len(prob)), label[held_out]]
        total -= float(np.log(np.maximum(mine, LEAST_PROBABILITY), dtype=np.float64).sum())
    return total / len(label)


def _folds(patient: npt.NDArray[np.str_]) -> Iterator[npt.NDArray[np.bool_]]:
    """Masks of the tiles that are held out; of one patient alone, whose tiles they are."""
    names = np.unique(patient)
    if len(names) < 2:
        yield from np.arange(len(patient)) % 2 == np.arange(2)[:, None]
        return
    for start in range(min(FOLDS, len(names))):
        yield np.isin(patient, names[start::FOLDS])
