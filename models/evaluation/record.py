"""What an evaluation found, as JSON and as a table for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from models.evaluation.comparing import Difference
from models.metrics import Interval

__all__ = ["LABELS", "TITLE_BY_TILE", "Evaluation", "differences_text"]

LABELS = {
    "auc": "AUC",
    "average_precision": "average precision",
    "balanced_accuracy": "balanced accuracy",
    "f1": "F1",
    "brier": "Brier score",
    "ece": "calibration error (ECE)",
    "macro_precision": "precision, mean of classes",
    "macro_recall": "recall, mean of classes",
    "macro_f1": "F1, mean of classes",
    "macro_auc": "AUC, mean of classes",
    "macro_average_precision": "average precision, mean",
}

FEW_PATIENTS = 10
"""Resamples of fewer are hardly others than the whole."""

TITLE_BY_TILE = "by tile: {tiles:,} tiles of these pictures, each with its picture's label"


@dataclass(frozen=True)
class Evaluation:
    """metrics: by name, 95 % intervals over resampled patients: of two classes those of the
    positive one at `threshold`, of more the means over classes where the largest wins, threshold
    None. confusion: rows are the truth, columns the prediction, in the order of `classes`.
    macro, by_class: the means over classes, and the figures of each, also for two.
    patients_of: how many of the patients are in which part of the split; 'unlisted' are in none.
    complete_patients: those whose whole slide is known to be there. patients_known: false where
    each picture counts as a patient. tiles: scored pictures, which are tiles where `is_tiles`.
    cut_tiles: what larger pictures were cut into, 0 where none was; a picture's probability is its
    tiles' mean. tile_metrics: as `metrics`, by tile, each with its picture's label.
    """

    model: str
    version: str
    card_sha256: str
    weights_sha256: str | None
    device: str
    data: str
    part: str | None
    tiles: int
    patients: int
    patients_of: dict[str, int]
    complete_patients: int
    complete_tiles: int
    positives: int
    positive_class: str
    negative_class: str  # of several it is "other"
    threshold: float | None
    rounds: int
    metrics: dict[str, Interval]
    confusion: tuple[tuple[int, ...], ...]
    classes: tuple[str, ...]
    support: dict[str, int]
    macro: dict[str, Interval]
    by_class: dict[str, dict[str, Interval]]
    split: str | None = None
    patients_known: bool = True
    is_tiles: bool = True
    cut_tiles: int = 0
    tile_metrics: dict[str, Interval] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        """What the intervals are over."""
        return "patients" if self.patients_known else "pictures"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the figures has to know."""
        found = list(self.notes)
        if not self.patients_known:
            found.append(
                "the set does not say of which patient a picture is: intervals are over pictures, "
                "and narrower than they would be over patients"
            )
        elif self.patients < FEW_PATIENTS:
            found.append(
                f"intervals over so few patients ({self.patients}) are too narrow: resamples of "
                f"fewer than {FEW_PATIENTS} say little"
            )
        seen = sum(self.patients_of.get(part, 0) for part in ("train", "validation"))
        if self.part is None and seen:
            found.append(
                f"{seen} of {self.patients} patients are in the split's train or validation part: a"
                " model that was made with that split knows them; evaluate the part 'test'"
            )
        if 0 < self.complete_patients < self.patients:
            found.append(
                f"{self.complete_patients} complete slides give {self.complete_tiles:,} of the "
                f"{self.tiles:,} tiles and outweigh the sampled patients; look at them apart"
            )
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"unit": self.unit, "warnings": list(self.warnings)}

    def to_text(self) -> str:
        """The same as a table for people."""
        several = len(self.classes) > 2
        return "\n".join(
            [
                f"{self.model} {self.version} on {self.data}"
                + (f", part {self.part}" if self.part else ""),
                self.headline(),
                "",
                f"{'metric':<26}{'value':>8}   95 % interval over {self.unit}",
                *(_row(LABELS.get(name, name), one) for name, one in self.metrics.items()),
                *self._tile_lines(),
                *(self._class_lines() if several else ()),
                "",
                *self._confusion_lines(),
                *(f"\nwarning: {warning}" for warning in self.warnings),
            ]
        )

    def headline(self) -> str:
        """How many, of whom, and how a class is chosen."""
        what = "tiles" if self.is_tiles else "pictures"
        whom = f" of {self.patients} patients" if self.patients_known else ""
        if self.threshold is None:
            shares = ", ".join(f"{n:,} {name}" for name, n in self.support.items())
            return f"{self.tiles:,} {what}{whom}: {shares}; the largest probability wins"
        return (
            f"{self.tiles:,} {what}{whom}, {self.positives / self.tiles:.1%} "
            f"{self.positive_class}; threshold {self.threshold:g}"
        )

    def _tile_lines(self) -> Iterator[str]:
        if self.tile_metrics:
            yield f"\n{TITLE_BY_TILE.format(tiles=self.cut_tiles)}"
            yield from (
                _row(LABELS.get(name, name), one) for name, one in self.tile_metrics.items()
            )

    def _class_lines(self) -> Iterator[str]:
        for name, figures in self.by_class.items():
            yield ""
            yield f"{name}, {self.support[name]:,}"
            yield from (_row("  " + LABELS.get(key, key), one) for key, one in figures.items())

    def _confusion_lines(self) -> Iterator[str]:
        width = max(map(len, self.classes)) + len("predicted ") + 2
        yield " " * width + "".join(f"{'predicted ' + name:>{width}}" for name in self.classes)
        for name, counts in zip(self.classes, self.confusion, strict=True):
            yield f"{'truly ' + name:<{width}}" + "".join(f"{count:>{width},}" for count in counts)


def differences_text(differences: Sequence[Difference]) -> str:
    """Each model less the first; a star where the interval leaves out zero."""
    lines = []
    by_model: Mapping[str, list[Difference]] = {one.model: [] for one in differences}
    for one in differences:
        by_model[one.model].append(one)
    for name, found in by_model.items():
        lines += [f"{name} less {found[0].against}, on the same resamples", ""]
        for one in found:
            i, star = one.interval, " *" if one.is_clear else ""
            title = LABELS.get(one.figure, one.figure)
            lines.append(f"{title:<26}{i.value:>+8.3f}   {i.low:+.3f} to {i.high:+.3f}{star}")
        lines.append("")
    return "\n".join([*lines, "* the interval leaves out zero"])


def _row(title: str, interval: Interval) -> str:
    return f"{title:<26}{interval.value:>8.3f}   {interval.low:.3f} to {interval.high:.3f}"
