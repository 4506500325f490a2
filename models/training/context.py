"""The second stage of a model, fitted on complete slides."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.card import ModelCard, write_card
from models.context import Context, describe_cells, logit_from_prob
from models.datasets import TILE_PX, TileSet, load_tiles
from models.errors import DatasetError, ModelError
from models.infer import Classifier, load_classifier
from models.metrics import choose_threshold, expected_calibration_error, rank_figures
from models.registry import resolve_model
from models.split import Split, read_split, require_tiles_apart
from wsi.store.folder import partial_file

__all__ = ["ContextConfig", "SlideScores", "add_context", "fit_context", "score_slides"]

DIGITS = 4
WEIGHT_DIGITS = 6
HOLES = 8
LARGEST_HOLE = 8  # cells
DROPPED = 0.3

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ContextConfig:
    """sigmas, radii: of models.context.describe_cells(), in cells. strength: of the L2 penalty, the
    inverse of scikit-learn's C, for features of deviation 1. masks: copies of each slide with
    tissue that is made to be missing. docs/default-model.md tells how these were chosen."""

    sigmas: tuple[float, ...] = (0.7, 1.4, 2.8)
    radii: tuple[int, ...] = (1, 2)
    strength: float = 10.0
    masks: int = 3
    seed: int = 0


@dataclass(frozen=True)
class SlideScores:
    """A slide as a grid of tiles side by side. logit: float64, before calibration; label: int64, 1
    is positive; mask: bool; each (rows, columns), logit and label of no meaning outside the mask.
    """

    patient: str
    logit: NDArray[np.float64]
    label: NDArray[np.int64]
    mask: NDArray[np.bool_]

    @property
    def labels(self) -> NDArray[np.int64]:
        """(n,), in the order of describe_cells()."""
        return self.label[self.mask]


def add_context(
    model: str | Path,
    data: Path,
    out: Path,
    config: ContextConfig | None = None,
    *,
    device: str = "auto",
    progress: Progress | None = None,
) -> Path:
    """Writes the model with a context stage into `out`, weights included; the path of its card.

    Fitted on the complete slides of the split's training part, calibrated and its threshold chosen
    on those of validation. progress: called with tiles done and all. Raises DatasetError where a
    part has no complete slide, or two slides hold identical tiles; ModelError.
    """
    card, weights = resolve_model(model)
    if weights is None or card.tile_px != TILE_PX:
        raise ModelError(
            f"{card.name}: a context stage is fitted for networks that take {TILE_PX} px tiles of "
            "the IDC set"
        )
    parts = _complete_parts(load_tiles(data), read_split())
    with closing(load_classifier(model, device, precision="float32")) as classifier:
        training, validation = _score_parts(classifier, parts, progress)
    fitted = fit_context(training, validation, config or ContextConfig())
    field_um = (2 * fitted.reach + 1) * card.tile_px * card.mpp
    metrics = {"field_um": field_um, **fitted.metrics}
    fitted = replace(fitted, weights_sha256=card.weights_sha256, metrics=metrics)
    return _write(replace(card, context=fitted), weights, out)


def _complete_parts(tiles: TileSet, split: Split) -> list[TileSet]:
    require_tiles_apart(tiles, split)
    parts = [split.take(tiles, part, complete=True) for part in ("train", "validation")]
    for name, part in zip(("train", "validation"), parts, strict=True):
        if not len(part):
            raise DatasetError(
                f"the data hold no complete slide of the part {name} of models/splits/idc.json; "
                "neighbours are learned from slides of which every tile is there"
            )
    return parts


def _score_parts(
    classifier: Classifier, parts: Sequence[TileSet], progress: Progress | None
) -> list[list[SlideScores]]:
    total, done = sum(map(len, parts)), 0
    found = []
    for part in parts:
        slides = []
        for slide in score_slides(classifier, part):
            slides.append(slide)
            done += int(slide.mask.sum())
            if progress is not None:
                progress(done, total)
        found.append(slides)
    return found


def score_slides(classifier: Classifier, tiles: TileSet) -> Iterator[SlideScores]:
    """Each patient's tiles in their places."""
    positive = classifier.card.positive_index
    for patient in tiles.patients:
        own = tiles.of_patients([patient])
        raw = classifier.predict_raw(own.rgb)[:, positive]
        column, row = ((own.xy - 1) // TILE_PX).T
        shape = int(row.max()) + 1, int(column.max()) + 1
        logit, label, mask = np.zeros(shape), np.zeros(shape, np.int64), np.zeros(shape, bool)
        logit[row, column], label[row, column] = logit_from_prob(raw), own.label
        mask[row, column] = True
        yield SlideScores(patient, logit, label, mask)


def fit_context(
    training: Sequence[SlideScores], validation: Sequence[SlideScores], config: ContextConfig
) -> Context:
    """Logistic regression in which every training slide counts as much, and in it both classes.

    Its probabilities, which are those of a slide that is half positive, are then corrected by a
    second one with one variable on the validation slides (Platt 1999), each of which counts as much
    and has the classes that it has. The threshold is that of models.metrics.choose_threshold().
    Raises DatasetError where a slide is on both sides or has one class, or where the validation
    slides are ranked backwards.
    """
    _check(training, validation)
    rng = np.random.default_rng(config.seed)
    copies = [copy for slide in training for copy in _with_masks(slide, config.masks, rng)]
    weights, bias = _regress(copies, config)
    draft = Context(config.sigmas, config.radii, tuple(weights.tolist()), bias, 0.5)
    gain, shift = _calibrate(draft, validation)
    if gain <= 0:
        raise DatasetError(
            "what the context stage learned from the training slides ranks the validation slides "
            "backwards; the network, or the labels, differ between them"
        )
    context = replace(
        draft,
        weights=tuple(round(weight, WEIGHT_DIGITS) for weight in (gain * weights).tolist()),
        bias=round(gain * bias + shift, WEIGHT_DIGITS),
        training_data=(
            f"{len(training)} complete slides of the network's own training part, "
            f"{sum(len(slide.labels) for slide in training)} tiles; calibration and threshold: "
            f"{len(validation)} of its validation part"
        ),
    )
    prob = np.concatenate([_prob(context, slide) for slide in validation])
    label = np.concatenate([slide.labels for slide in validation])
    patient = np.concatenate([np.full(len(one.labels), one.patient) for one in validation])
    context = replace(context, threshold=choose_threshold(label, prob, patient))
    return replace(context, metrics={"validation": measure_slides(context, validation)})


def measure_slides(context: Context, slides: Sequence[SlideScores]) -> dict[str, Any]:
    """By slide: AUC of the network's scores (raw_auc) and of the context stage (auc), and ECE."""
    each = {}
    for slide in slides:
        prob, is_true = _prob(context, slide), slide.labels == 1
        figures = {
            "raw_auc": rank_figures(is_true, slide.logit[slide.mask])[0],
            "auc": rank_figures(is_true, prob)[0],
            "ece": expected_calibration_error(slide.labels, prob),
        }
        rounded = {name: round(value, DIGITS) for name, value in figures.items()}
        each[slide.patient] = {"tiles": len(prob), **rounded}
    means = {
        f"mean_{name}": round(float(np.mean([one[name] for one in each.values()])), DIGITS)
        for name in ("raw_auc", "auc")
    }
    return means | {"slides": each}


def _check(training: Sequence[SlideScores], validation: Sequence[SlideScores]) -> None:
    shared = {slide.patient for slide in training} & {slide.patient for slide in validation}
    if shared:
        raise DatasetError(
            f"slide {min(shared)} is among those to fit the context stage on and those to validate "
            "it with; leave it out on one side"
        )
    for slide in (*training, *validation):
        if not 0 < slide.labels.sum() < len(slide.labels):
            raise DatasetError(
                f"all {len(slide.labels)} tiles of slide {slide.patient} are of one class; the "
                "context stage learns from slides with both"
            )


def _with_masks(slide: SlideScores, count: int, rng: np.random.Generator) -> Iterator[SlideScores]:
    """The slide, and up to `count` copies that lack tissue: in them both classes are left."""
    yield slide
    for number in range(count):
        kept = slide.mask & MISSING[number % len(MISSING)](slide.mask, rng)
        if 0 < slide.label[kept].sum() < kept.sum():
            yield replace(slide, mask=kept)


def _scattered(mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    return np.asarray(rng.random(mask.shape) >= DROPPED)


def _holes(mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    kept = np.ones_like(mask)
    for _ in range(HOLES):
        row, column = rng.integers(0, mask.shape)
        height, width = rng.integers(1, LARGEST_HOLE, 2)
        kept[row : row + height, column : column + width] = False
    return kept


def _one_side(mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Of a line through one of its cells: the slide ends there."""
    at = rng.permutation(np.argwhere(mask))[0]
    angle = rng.uniform(0, 2 * np.pi)
    row, column = np.indices(mask.shape)
    side = (row - at[0]) * np.sin(angle) + (column - at[1]) * np.cos(angle)
    return np.asarray(side > 0)


MISSING = (_scattered, _holes, _one_side)


def _regress(
    slides: Sequence[SlideScores], config: ContextConfig
) -> tuple[NDArray[np.float64], float]:
    """(weights, bias) for describe_cells()."""
    from sklearn.linear_model import LogisticRegression

    features = np.concatenate(
        [describe_cells(one.logit, one.mask, config.sigmas, config.radii) for one in slides]
    )
    label = np.concatenate([one.labels for one in slides])
    counts = np.concatenate([_even(one.labels) for one in slides])
    counts *= len(label) / counts.sum()
    mean, deviation = features.mean(0), features.std(0)
    found = LogisticRegression(C=1 / config.strength, max_iter=1000).fit(
        (features - mean) / deviation, label, sample_weight=counts
    )
    weights = found.coef_[0] / deviation
    return weights, float(found.intercept_[0] - weights @ mean)


def _even(label: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weights that sum to 1, half of it for each class."""
    return np.asarray(0.5 / np.bincount(label, minlength=2)[label])


def _calibrate(draft: Context, slides: Sequence[SlideScores]) -> tuple[float, float]:
    """Gain and shift of the draft's log odds."""
    from sklearn.linear_model import LogisticRegression

    odds = np.concatenate([_log_odds(draft, slide) for slide in slides])
    label = np.concatenate([slide.labels for slide in slides])
    counts = np.concatenate([np.full(len(s.labels), 1 / len(s.labels)) for s in slides])
    counts *= len(label) / counts.sum()
    found = LogisticRegression(C=1e6, max_iter=1000).fit(odds[:, None], label, sample_weight=counts)
    return float(found.coef_[0, 0]), float(found.intercept_[0])


def _log_odds(context: Context, slide: SlideScores) -> NDArray[np.float64]:
    features = describe_cells(slide.logit, slide.mask, context.sigmas, context.radii)
    return np.asarray(features @ np.array(context.weights) + context.bias)


def _prob(context: Context, slide: SlideScores) -> NDArray[np.float32]:
    return context.apply(slide.logit, slide.mask)[slide.mask]


def _write(card: ModelCard, weights: Path, out: Path) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{card.name}.json"
    if not (out / weights.name).exists() or not weights.samefile(out / weights.name):
        with partial_file(out / weights.name) as partial:
            shutil.copyfile(weights, partial)
    write_card(card, path)
    return path
