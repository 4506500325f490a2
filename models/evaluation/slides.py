"""Heatmaps of complete slides against the truth of their tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import DatasetError
from models.evaluation.regions import Froc, Overlap, free_response, overlap
from models.metrics import rank_figures

__all__ = ["ScoredSlide", "SlideEvaluation", "evaluate_context", "evaluate_slides"]


@dataclass(frozen=True)
class ScoredSlide:
    """truth, prob: float32 (rows, columns) of the heatmap's cells: 1, 0, NaN where nobody labelled;
    the positive class's probability, NaN where nothing was scored. context: as prob, of the stage
    that looks at neighbours, where the model has it, and the threshold that is its own."""

    patient: str
    truth: NDArray[np.float32]
    prob: NDArray[np.float32]
    threshold: float
    context: NDArray[np.float32] | None = None
    context_threshold: float | None = None

    @property
    def by_context(self) -> ScoredSlide | None:
        """The slide as the context stage scores it."""
        if self.context is None or self.context_threshold is None:
            return None
        return ScoredSlide(self.patient, self.truth, self.context, self.context_threshold)

    @property
    def labelled(self) -> int:
        return int(np.isfinite(self.truth).sum())

    @property
    def scored(self) -> NDArray[np.bool_]:
        """Cells that are labelled and scored: those that AUC and average precision are of."""
        return np.isfinite(self.truth) & np.isfinite(self.prob)

    @property
    def positives(self) -> int:
        return int((self.truth[self.scored] == 1).sum())

    @property
    def ranking(self) -> tuple[float, float]:
        """AUC and average precision; NaN where all scored tiles are of one class."""
        if not 0 < self.positives < int(self.scored.sum()):
            return float("nan"), float("nan")
        return rank_figures(self.truth[self.scored] == 1, self.prob[self.scored])

    @property
    def overlap(self) -> Overlap:
        return overlap(self.truth, self.prob, self.threshold)


@dataclass(frozen=True)
class SlideEvaluation:
    model: str
    slides: tuple[ScoredSlide, ...]
    froc: Froc

    def rows(self) -> list[dict[str, Any]]:
        """A slide each; figures that a slide does not have are None."""
        return [_row(slide) for slide in self.slides]

    def means(self) -> dict[str, float | None]:
        """Over the slides that have the figure."""
        rows = self.rows()
        return {name: _mean([row[name] for row in rows]) for name in FIGURES}

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "slides": self.rows(),
            "means": self.means(),
            "froc": {
                "score": self.froc.score,
                "at": {f"{limit:g}": value for limit, value in self.froc.at.items()},
                "regions": self.froc.regions,
                "slides": self.froc.slides,
            },
        }

    def to_text(self) -> str:
        """The same as a table for people."""
        titles = ("slide", "labelled", "scored", "positive", "AUC", "AP", "Dice", "IoU")
        lines = [f"{self.model} on complete slides", "", _line(titles)]
        names = ("patient", "labelled", "scored", "positives", *FIGURES)
        lines += [_line([_shown(row[name]) for name in names]) for row in self.rows()]
        means = [_shown(value) for value in self.means().values()]
        found = ", ".join(f"{value:.3f} at {limit:g}" for limit, value in self.froc.at.items())
        return "\n".join(
            [
                *lines,
                _line(["mean", "", "", "", *means]),
                "",
                f"FROC: {self.froc.score:.3f}; of {self.froc.regions} regions found, by false "
                f"regions a slide: {found}",
            ]
        )


FIGURES = ("auc", "average_precision", "dice", "iou")


def evaluate_slides(model: str, slides: Sequence[ScoredSlide]) -> SlideEvaluation:
    """Dice, IoU and the candidates of the FROC at the slides' threshold. Raises DatasetError where
    there is no slide, or where their thresholds differ.
    """
    thresholds = {slide.threshold for slide in slides}
    if len(thresholds) != 1:
        raise DatasetError(
            f"{len(slides)} slides with the thresholds {sorted(thresholds)}; figures of slides "
            "need one slide at least, and one threshold"
        )
    froc = free_response([(slide.truth, slide.prob) for slide in slides], thresholds.pop())
    return SlideEvaluation(model, tuple(slides), froc)


def evaluate_context(model: str, slides: Sequence[ScoredSlide]) -> SlideEvaluation | None:
    """evaluate_slides() of what the context stage makes of the same scores, under a name that says
    so; None where a slide lacks it."""
    scored = [found for slide in slides if (found := slide.by_context)]
    return evaluate_slides(f"{model}, context", scored) if len(scored) == len(slides) else None


def _row(slide: ScoredSlide) -> dict[str, Any]:
    auc, average_precision = slide.ranking
    numbers = {"auc": auc, "average_precision": average_precision} | asdict(slide.overlap)
    counts = {
        "patient": slide.patient,
        "labelled": slide.labelled,
        "scored": int(slide.scored.sum()),
        "positives": slide.positives,
        "threshold": slide.threshold,
    }
    return counts | {k: v if np.isfinite(v) else None for k, v in numbers.items()}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _shown(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _line(cells: Sequence[str]) -> str:
    return f"{cells[0]:<12}" + "".join(f"{cell:>10}" for cell in cells[1:])
