"""How good models are on labelled pictures, with intervals over patients, and which is better."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.card import ModelCard
from models.datasets import Pictures
from models.errors import DatasetError
from models.evaluation.classes import (
    FIGURES,
    bootstrap,
    by_class,
    confusion_of,
    measure_classes,
    predict,
)
from models.evaluation.comparing import Difference, Scored, compare_models
from models.evaluation.curves import History
from models.evaluation.matching import Matching, match_classes
from models.evaluation.record import Evaluation, differences_text
from models.evaluation.scoring import cut_for, score_pictures
from models.evaluation.seen import refuse_seen
from models.evaluation.selection import Selection, is_complete, select_pictures
from models.infer import Classifier, load_classifier
from models.metrics import Interval, measure, patient_bootstrap
from models.scorer import SymmetricClassifier

__all__ = [
    "Assessment",
    "Evaluation",
    "ScoredModel",
    "assess",
    "evaluate",
    "evaluate_classifier",
    "select_pictures",
]

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ScoredModel:
    """What the figures come from. label, predicted: int64 (n,), into `evaluation.classes`; prob:
    float32 (n, classes); patient: str (n,). history, kept_epoch: of its training, as its card has
    them."""

    name: str  # unique among those that are compared
    evaluation: Evaluation
    label: NDArray[np.int64]
    prob: NDArray[np.float32]
    predicted: NDArray[np.int64]
    patient: NDArray[np.str_]
    history: History = field(default_factory=dict)
    kept_epoch: int | None = None

    def measure(self, index: NDArray[np.int64]) -> dict[str, float]:
        """Figures on the rows of an index."""
        label, prob = self.label[index], self.prob[index]
        if self.evaluation.threshold is None:
            return measure_classes(label, prob, self.predicted[index])
        return measure(label, prob[:, 1], self.evaluation.threshold)


@dataclass(frozen=True)
class Assessment:
    """Models on the same pictures; differences: of each but the first to the first."""

    models: tuple[ScoredModel, ...]
    differences: tuple[Difference, ...]

    def to_json(self) -> dict[str, Any]:
        """One model's is that of its evaluation."""
        records = [one.evaluation.to_json() for one in self.models]
        if len(records) == 1:
            return records[0]
        found = [
            {**vars(one), "interval": vars(one.interval), "is_clear": one.is_clear}
            for one in self.differences
        ]
        return {"models": records, "differences": found}

    def to_text(self) -> str:
        texts = [one.evaluation.to_text() for one in self.models]
        return "\n\n".join([*texts, *([differences_text(self.differences)] * (len(texts) > 1))])


def evaluate(
    model: str | Path,
    data: Path,
    *,
    part: str | None = None,
    complete: bool | None = None,
    split: Path | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    trust_code: bool = False,
    rounds: int = 1000,
    progress: Progress | None = None,
) -> Evaluation:
    """The model of `resolve_model` on a folder of labelled pictures, or on one part of its split.

    complete: only patients whose whole slide is there (True) or only a sample of it (False); in one
    pool a few slides outweigh all sampled patients, because they have most of the tiles. split: see
    select_pictures. rounds: of the bootstrap. progress: called with pictures done and pictures in
    all. Raises ModelError.
    """
    selection = select_pictures(data, part=part, complete=complete, split=split)
    found = assess(
        [model],
        selection,
        device=device,
        batch_size=batch_size,
        trust_code=trust_code,
        rounds=rounds,
        progress=progress,
    )
    return found.models[0].evaluation


def assess(
    models: Sequence[str | Path],
    selection: Selection,
    *,
    device: str = "auto",
    batch_size: int | None = None,
    trust_code: bool = False,
    tta: bool = False,
    rounds: int = 1000,
    progress: Progress | None = None,
) -> Assessment:
    """Each model on the same pictures, one after the other, and all compared with the first.

    tta: each tile in its 8 symmetries, see models.scorer. progress: counts pictures times models.
    Raises ModelError.
    """
    scored: list[ScoredModel] = []
    for model in models:
        classifier = load_classifier(model, device, batch_size=batch_size, trust_code=trust_code)
        with closing(classifier):
            one = evaluate_classifier(
                SymmetricClassifier(classifier) if tta else classifier,
                selection,
                name=_unique(classifier.card.name, [other.name for other in scored]),
                rounds=rounds,
                progress=_continued(progress, len(scored), len(models)),
            )
        _require_same_classes(scored, one)
        scored.append(one)
    return Assessment(tuple(scored), tuple(_compare(scored, rounds)))


def evaluate_classifier(
    classifier: Classifier,
    selection: Selection,
    *,
    name: str | None = None,
    rounds: int = 1000,
    progress: Progress | None = None,
) -> ScoredModel:
    """Two classes at the card's threshold, more by the largest probability."""
    card, pictures = classifier.card, selection.pictures
    seen = refuse_seen(card, selection)
    matching = match_classes(card, pictures.classes)
    answers = score_pictures(classifier, pictures, cut_for(card, pictures), progress)
    scores = _scores(card, matching, pictures, answers.prob)
    evaluation = _record(card, classifier.device, selection, scores, rounds)
    evaluation = replace(evaluation, notes=(*evaluation.notes, *([seen] if seen else [])))
    if len(answers.of_tiles) > len(pictures):
        of_tiles = _scores(card, matching, pictures, answers.of_tiles, answers.picture)
        figures = _figures(card, of_tiles, rounds)
        evaluation = replace(evaluation, cut_tiles=len(of_tiles.label), tile_metrics=figures)
    training = card.metrics.get("training", {})
    return ScoredModel(
        name or card.name,
        evaluation,
        scores.label,
        scores.prob,
        scores.predicted,
        scores.patient,
        training.get("history", {}),
        training.get("kept_epoch"),
    )


@dataclass(frozen=True)
class _Scores:
    matching: Matching
    label: NDArray[np.int64]
    prob: NDArray[np.float32]
    predicted: NDArray[np.int64]
    patient: NDArray[np.str_]

    @property
    def names(self) -> tuple[str, ...]:
        return self.matching.names


def _scores(
    card: ModelCard,
    matching: Matching,
    pictures: Pictures,
    answer: NDArray[np.float32],
    picture: NDArray[np.int64] | None = None,
) -> _Scores:
    """answer: of the model, a row a picture; or a row a tile, with `picture`, of which each is: a
    tile has its picture's label."""
    label, prob = matching.label(pictures.label), matching.prob(answer)
    predicted = predict(prob, 1 if len(matching.names) == 2 else None, card.threshold)
    whole = slice(None) if picture is None else picture
    return _Scores(matching, label[whole], prob, predicted, pictures.patient[whole])


def _record(
    card: ModelCard, device: str, selection: Selection, scores: _Scores, rounds: int
) -> Evaluation:
    names, label = scores.names, scores.label
    macro, each = _figures_of_classes(scores, rounds)
    is_two = len(names) == 2
    at = names.index(card.positive_class)
    return Evaluation(
        model=card.name,
        version=card.version,
        card_sha256=card.sha256,
        weights_sha256=card.weights_sha256,
        device=device,
        **_about_data(selection),
        positives=int((label == at).sum()),
        positive_class=card.positive_class,
        negative_class=names[0] if is_two else "other",
        threshold=card.threshold if is_two else None,
        rounds=rounds,
        metrics=_figures_of_two(card, scores, rounds) if is_two else macro,
        confusion=tuple(
            tuple(row) for row in confusion_of(label, scores.predicted, len(names)).tolist()
        ),
        classes=names,
        support={name: int((label == i).sum()) for i, name in enumerate(names)},
        macro=macro,
        by_class=each,
        notes=(scores.matching.note,) if scores.matching.note else (),
    )


def _about_data(selection: Selection) -> dict[str, Any]:
    """Fields of an Evaluation."""
    pictures, split = selection.pictures, selection.split
    whole = is_complete(pictures)
    listed = {row.patient: row.part for row in split.rows} if split else {}
    return {
        "data": pictures.folder.name,
        "part": selection.part,
        "split": selection.split_name,
        "tiles": len(pictures),
        "patients": len(pictures.patients),
        "patients_of": dict(Counter(listed.get(one, "unlisted") for one in pictures.patients)),
        "patients_known": pictures.patients_known,
        "complete_patients": len(pictures.select(whole).patients),
        "complete_tiles": int(whole.sum()),
        "is_tiles": pictures.is_idc,
    }


def _figures(card: ModelCard, scores: _Scores, rounds: int) -> dict[str, Interval]:
    """Evaluation.metrics."""
    if len(scores.names) == 2:
        return _figures_of_two(card, scores, rounds)

    def means(index: NDArray[np.int64]) -> dict[str, float]:
        return measure_classes(scores.label[index], scores.prob[index], scores.predicted[index])

    return bootstrap(scores.label, scores.patient, means, rounds=rounds)


def _figures_of_two(card: ModelCard, scores: _Scores, rounds: int) -> dict[str, Interval]:
    return patient_bootstrap(
        scores.label, scores.prob[:, 1], scores.patient, card.threshold, rounds=rounds
    )


def _figures_of_classes(
    scores: _Scores, rounds: int
) -> tuple[dict[str, Interval], dict[str, dict[str, Interval]]]:
    """Means over the classes, and the figures of each, over the same resamples."""
    names = scores.names

    def figures(index: NDArray[np.int64]) -> dict[str, float]:
        label, prob, predicted = scores.label[index], scores.prob[index], scores.predicted[index]
        of_each = by_class(label, prob, predicted, names)
        flat = {
            f"{i} {figure}": float(getattr(one, figure))
            for i, one in enumerate(of_each)
            for figure in FIGURES
        }
        return measure_classes(label, prob, predicted, of_each) | flat

    found = bootstrap(scores.label, scores.patient, figures, rounds=rounds)
    each = {
        name: {figure: found.pop(f"{i} {figure}") for figure in FIGURES}
        for i, name in enumerate(names)
    }
    return found, each


def _compare(scored: Sequence[ScoredModel], rounds: int) -> list[Difference]:
    if len(scored) < 2:
        return []
    measures: dict[str, Scored] = {one.name: one.measure for one in scored}
    return compare_models(measures, scored[0].label, scored[0].patient, rounds=rounds)


def _require_same_classes(scored: Sequence[ScoredModel], one: ScoredModel) -> None:
    if scored and not np.array_equal(scored[0].label, one.label):
        first = scored[0].evaluation
        raise DatasetError(
            f"{first.model} is positive for {first.positive_class}, {one.evaluation.model} for "
            f"{one.evaluation.positive_class}, which is another class of the set; evaluate them "
            "apart"
        )


def _unique(name: str, taken: Sequence[str]) -> str:
    number = 1 + sum(other == name or other.startswith(f"{name} (") for other in taken)
    return name if number == 1 else f"{name} ({number})"


def _continued(progress: Progress | None, number: int, models: int) -> Progress | None:
    """That of the number-th model, as a part of them all."""
    if progress is None:
        return None
    return lambda done, total: progress(number * total + done, models * total)
