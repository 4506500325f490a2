"""From trained weights to a model: weights on disk, calibration, threshold, and their card.

Everything is measured with the float16 weights that are written, read back as a user reads them.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.card import ModelCard, read_card, write_card
from models.checkpoint import save_weights
from models.datasets import TileSet
from models.errors import CardError
from models.infer import load_classifier
from models.metrics import (
    calibrate,
    choose_threshold,
    confusion,
    expected_calibration_error,
    fit_temperature,
    measure,
    patient_bootstrap,
)
from models.recipe import TrainConfig
from models.run import Weights
from models.split import Split

__all__ = ["add_test_metrics", "make_card", "measure_patients", "release", "score_card"]

LEAST_PROBABILITY = 1e-7
DIGITS = 4


def release(
    config: TrainConfig, weights: Weights, validation: TileSet, out: Path, device: str = "auto"
) -> Path:
    """Writes `out/<name>.safetensors` and `out/<name>.json`; returns the path of the card.

    Temperature and threshold come from the validation tiles.
    """
    file = out / f"{config.name}.safetensors"
    sha256 = save_weights(weights, file, classes=config.classes)
    card = make_card(config, file.name, sha256)
    prob = _score_draft(card, out, validation, device)
    logit = np.log(np.maximum(prob, LEAST_PROBABILITY))
    temperature = round(fit_temperature(logit, validation.label), DIGITS)
    positive = calibrate(logit, temperature)[:, card.positive_index]
    threshold = choose_threshold(validation.label, positive, validation.patient)
    found = measure_patients(validation, positive, threshold, config.bootstrap_rounds)
    uncalibrated = expected_calibration_error(validation.label, prob[:, card.positive_index])
    found["ece_before_temperature"] = round(uncalibrated, DIGITS)
    metrics = {"validation": found}
    path = file.with_suffix(".json")
    write_card(replace(card, temperature=temperature, threshold=threshold, metrics=metrics), path)
    return path


def add_test_metrics(
    card_path: Path,
    tiles: TileSet,
    split: Split,
    device: str = "auto",
    *,
    rounds: int = 1000,
) -> dict[str, Any]:
    """Measures the test patients, sampled and complete ones apart, and writes it into the card.

    For a model on which every choice is made: who looks twice has a validation set.
    """
    card = read_card(card_path)
    found: dict[str, Any] = dict(card.metrics)
    sampled = split.take(tiles, "test", complete=False)
    positive = score_card(card_path, sampled, device)[:, card.positive_index]
    found["test"] = measure_patients(sampled, positive, card.threshold, rounds)
    for part in ("validation", "test"):
        slides = split.take(tiles, part, complete=True)
        positive = score_card(card_path, slides, device)[:, card.positive_index]
        found[f"{part}_complete_slides"] = {
            patient: _measure_one(slides, positive, patient, card.threshold)
            for patient in slides.patients
        }
    write_card(replace(card, metrics=found), card_path)
    return found


def score_card(card_path: Path, tiles: TileSet, device: str = "auto") -> npt.NDArray[np.float32]:
    """Probabilities as a user of the model gets them, float32 (n, classes)."""
    classifier = load_classifier(card_path, device, precision="float32")
    try:
        return classifier.predict(tiles.rgb)
    finally:
        classifier.close()


def _score_draft(
    card: ModelCard, out: Path, tiles: TileSet, device: str
) -> npt.NDArray[np.float32]:
    """With a card that is gone afterwards: where this stops no uncalibrated model is left."""
    draft = out / f"{card.name}.draft.json"
    try:
        write_card(card, draft)
        return score_card(draft, tiles, device)
    finally:
        draft.unlink(missing_ok=True)


def measure_patients(
    tiles: TileSet, positive: npt.NDArray[np.floating], threshold: float, rounds: int = 1000
) -> dict[str, Any]:
    """Every metric with its interval over patients, and what they were counted on."""
    intervals = patient_bootstrap(tiles.label, positive, tiles.patient, threshold, rounds=rounds)
    return {
        "patients": len(tiles.patients),
        "tiles": len(tiles),
        "idc_fraction": round(float(tiles.label.mean()), DIGITS),
        "confusion": confusion(tiles.label, positive, threshold).tolist(),
        **{name: _rounded(asdict(interval)) for name, interval in intervals.items()},
    }


def _measure_one(
    slides: TileSet, positive: npt.NDArray[np.floating], patient: str, threshold: float
) -> dict[str, float]:
    mine = slides.patient == patient
    label = slides.label[mine]
    share = {"tiles": len(label), "idc_fraction": float(label.mean())}
    return _rounded(share | measure(label, positive[mine], threshold))


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, DIGITS) for name, value in values.items()}


def make_card(config: TrainConfig, weights_file: str, sha256: str) -> ModelCard:
    """Before anything is measured. Raises CardError where a recipe holds what no card can."""
    try:
        return ModelCard(
            name=config.name,
            architecture=config.architecture,
            classes=config.classes,
            positive_class=config.classes[-1],
            tile_px=config.tile_px,
            mpp=config.mpp,
            input_px=config.tile_px,
            mean=config.mean,
            std=config.std,
            weights_file=weights_file,
            weights_sha256=sha256,
            split="By patient, models/splits/idc.json",
            **config.card,
        )
    except TypeError as error:  # a number where a text belongs, or a field that cards lack
        raise CardError(f"recipe {config.name!r} makes no card ({error})") from error
