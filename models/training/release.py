"""From trained weights to a model: weights on disk, calibration, threshold, and their card.

Everything is measured with the float16 weights that are written, read back as a user reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.appearance import Appearance
from models.calibration import calibrated
from models.card import ModelCard, read_card, write_card
from models.checkpoint import save_weights
from models.datasets import Labelled, LabelledStore, Labels, TileSet
from models.errors import CardError, WeightsError
from models.evaluation.pictures import mean_by_picture
from models.infer import load_classifier
from models.metrics import (
    choose_threshold,
    confusion,
    expected_calibration_error,
    measure,
    patient_bootstrap,
)
from models.recipe import TrainConfig
from models.split import Split
from models.training.descent import Weights
from models.training.fitting import fit_calibration

__all__ = [
    "Origin",
    "add_test_metrics",
    "make_card",
    "measure_classes",
    "measure_patients",
    "publish",
    "release",
    "score_card",
]

DIGITS = 4
BATCHES = 16  # of the classifier's, read at a time
UNCHOSEN = (
    "The validation tiles are all {positive}, or none is: the threshold of 0.5 was not chosen."
)


@dataclass(frozen=True)
class Origin:
    """What the card tells of the training. split: a sentence. limits: what training adds to the
    recipe's. training: JSON, free of form. appearance: of the training tiles."""

    split: str = "By patient, models/splits/idc.json"
    limits: tuple[str, ...] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    appearance: Appearance | None = None


def release(
    config: TrainConfig,
    weights: Weights,
    validation: Labelled,
    out: Path,
    device: str = "auto",
    *,
    origin: Origin | None = None,
) -> Path:
    """Writes `out/<name>.safetensors` and `out/<name>.json`; returns the path of the card.

    Calibration and threshold come from the validation tiles. Where these lack the positive class,
    or all others, the threshold is 0.5, and the card says so.
    """
    file = out / f"{config.name}.safetensors"
    sha256 = _save(weights, file, config.classes)
    card = make_card(config, file.name, sha256, origin)
    return publish(config, card, _score_draft(card, out, validation, device), validation, out)


def publish(
    config: TrainConfig,
    card: ModelCard,
    prob: npt.NDArray[np.floating],
    validation: Labelled,
    out: Path,
) -> Path:
    """Writes `out/<name>.json`, calibrated and measured; returns its path.

    prob: what the model of the card, still uncalibrated, answers to the validation tiles.
    """
    card, chosen = fit_calibration(
        card, config.calibration, prob, validation.label, validation.patient
    )
    corrected = calibrated(card, prob)
    card = _measured(card, validation, prob, corrected, config)
    pictures = _measure_pictures(card, validation, corrected, config.bootstrap_rounds)
    path = out / f"{config.name}.json"
    write_card(replace(card, metrics={**card.metrics, **pictures, "calibration": chosen}), path)
    return path


def _save(weights: Weights, file: Path, classes: tuple[str, ...]) -> str:
    """In float16, but for weights with values that it has not: these stay as they are."""
    try:
        return save_weights(weights, file, classes=classes)
    except WeightsError:
        return save_weights(weights, file, None, classes)


def _measured(
    card: ModelCard,
    validation: Labelled,
    prob: npt.NDArray[np.floating],
    corrected: npt.NDArray[np.floating],
    config: TrainConfig,
) -> ModelCard:
    """The card with its threshold and what was measured on the validation tiles."""
    label = (validation.label == card.positive_index).astype(np.int64)
    positive = corrected[:, card.positive_index]
    training = card.metrics
    classes = {"classes": measure_classes(validation.label, corrected, card.classes)}
    if not 0 < label.sum() < len(label):
        limit = UNCHOSEN.format(positive=card.positive_class)
        metrics = {"validation": classes, **training}
        return replace(card, threshold=0.5, limits=(*card.limits, limit), metrics=metrics)
    threshold = choose_threshold(label, positive, validation.patient)
    found = measure_patients(validation, positive, threshold, config.bootstrap_rounds, card)
    uncalibrated = expected_calibration_error(label, prob[:, card.positive_index])
    found["ece_before_temperature"] = round(uncalibrated, DIGITS)
    several = classes if len(card.classes) > 2 else {}
    metrics = {"validation": found | several, **training}
    return replace(card, threshold=threshold, metrics=metrics)


def _measure_pictures(
    card: ModelCard, validation: Labelled, prob: npt.NDArray[np.floating], rounds: int
) -> dict[str, Any]:
    """The same by picture, where pictures were cut into tiles: the mean of a picture's tiles, at
    the threshold that was chosen for tiles."""
    if not isinstance(validation, LabelledStore):
        return {}
    index, mean = mean_by_picture(prob, validation.picture)
    if len(index) == len(validation):
        return {}
    pictures = validation.pictures.select(index)
    of_classes = measure_classes(pictures.label, mean, card.classes)
    positive = pictures.label == card.positive_index
    if not 0 < positive.sum() < len(positive):
        return {"validation_pictures": _of_pictures({"classes": of_classes})}
    column = mean[:, card.positive_index]
    found = measure_patients(pictures, column, card.threshold, rounds, card)
    several = {"classes": of_classes} if len(card.classes) > 2 else {}
    return {"validation_pictures": _of_pictures(found | several)}


def _of_pictures(found: dict[str, Any]) -> dict[str, Any]:
    """What was counted were pictures."""
    renamed = {"pictures" if name == "tiles" else name: value for name, value in found.items()}
    if "classes" in renamed:
        renamed["classes"] = _of_pictures(renamed["classes"])
    return renamed


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


def score_card(card_path: Path, tiles: Labelled, device: str = "auto") -> npt.NDArray[np.float32]:
    """Probabilities as a user of the model gets them, float32 (n, classes)."""
    classifier = load_classifier(card_path, device, precision="float32")
    step = classifier.batch_size * BATCHES
    try:
        scores = [
            classifier.predict(tiles.batch(np.arange(start, min(start + step, len(tiles)))))
            for start in range(0, len(tiles), step)
        ]
    finally:
        classifier.close()
    return np.concatenate([np.empty((0, len(classifier.card.classes)), np.float32), *scores])


def _score_draft(
    card: ModelCard, out: Path, tiles: Labelled, device: str
) -> npt.NDArray[np.float32]:
    """With a card that is gone afterwards: where this stops no uncalibrated model is left."""
    draft = out / f"{card.name}.draft.json"
    try:
        write_card(card, draft)
        return score_card(draft, tiles, device)
    finally:
        draft.unlink(missing_ok=True)


def measure_patients(
    tiles: Labels,
    positive: npt.NDArray[np.floating],
    threshold: float,
    rounds: int = 1000,
    card: ModelCard | None = None,
) -> dict[str, Any]:
    """Every metric with its interval over patients, and what they were counted on.

    card: says which class is positive; 1 where there is none.
    """
    label = (tiles.label == (1 if card is None else card.positive_index)).astype(np.int64)
    intervals = patient_bootstrap(label, positive, tiles.patient, threshold, rounds=rounds)
    return {
        "patients": len(tiles.patients),
        "tiles": len(tiles),
        "idc_fraction": round(float(label.mean()), DIGITS),
        "confusion": confusion(label, positive, threshold).tolist(),
        **{name: _rounded(asdict(interval)) for name, interval in intervals.items()},
    }


def measure_classes(
    label: npt.NDArray[np.int64], prob: npt.NDArray[np.floating], classes: tuple[str, ...]
) -> dict[str, Any]:
    """Where the most probable class wins. confusion: rows are the truth; precision, recall and F1
    by class, 0 where nothing was predicted, F1 also as the mean over classes."""
    from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support

    index, predicted = list(range(len(classes))), prob.argmax(1)
    options = {"labels": index, "zero_division": 0}
    each = precision_recall_fscore_support(label, predicted, **options)
    by_class = {
        name: _rounded(dict(zip(("precision", "recall", "f1"), map(float, values), strict=True)))
        for name, *values in zip(classes, *each[:3], strict=True)
    }
    return {
        "tiles": len(label),
        "accuracy": round(float((predicted == label).mean()), DIGITS),
        "f1_macro": round(float(f1_score(label, predicted, average="macro", **options)), DIGITS),
        "by_class": by_class,
        "confusion": confusion_matrix(label, predicted, labels=index).tolist(),
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


def make_card(
    config: TrainConfig,
    weights_file: str | None,
    sha256: str | None,
    origin: Origin | None = None,
) -> ModelCard:
    """Before anything is measured. Raises CardError where a recipe holds what no card can."""
    origin = origin or Origin()
    texts = dict(config.card)
    limits = texts.pop("limits", ())
    if not isinstance(limits, tuple) or not all(isinstance(text, str) for text in limits):
        raise CardError(f"recipe {config.name!r}: card.limits is {limits!r}; use a list of texts")
    try:
        return ModelCard(
            name=config.name,
            architecture=config.architecture,
            classes=config.classes,
            positive_class=config.positive_class or config.classes[-1],
            tile_px=config.tile_px,
            mpp=config.mpp,
            input_px=config.input_px or config.tile_px,
            mean=config.mean,
            std=config.std,
            weights_file=weights_file,
            weights_sha256=sha256,
            split=origin.split,
            limits=limits + origin.limits,
            metrics={"training": dict(origin.training)} if origin.training else {},
            appearance=origin.appearance,
            **texts,
        )
    except TypeError as error:  # a number where a text belongs, or a field that cards lack
        raise CardError(f"recipe {config.name!r} makes no card ({error})") from error
