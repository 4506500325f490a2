"""How good a model is on labelled tiles, with intervals over patients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.card import ModelCard
from models.datasets import TILE_MPP, TILE_PX, TileSet, load_tiles
from models.errors import DatasetError, ModelError
from models.infer import Classifier, load_classifier
from models.metrics import Interval, confusion, patient_bootstrap
from models.split import IDC_SPLIT, PARTS, Split, read_split

__all__ = ["Evaluation", "evaluate", "evaluate_classifier"]

STEP = 2048  # tiles between two reports of progress

LABELS = {
    "auc": "AUC",
    "average_precision": "average precision",
    "balanced_accuracy": "balanced accuracy",
    "f1": "F1",
    "brier": "Brier score",
    "ece": "calibration error (ECE)",
}


@dataclass(frozen=True)
class Evaluation:
    """metrics: by name, 95 % intervals over resampled patients. confusion: rows are the truth,
    columns the prediction at `threshold`, negative class first. patients_of: how many of the
    patients are in which part of the split; 'unlisted' are in none. complete_patients: those whose
    whole slide is known to be there.
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
    complete_patients: int  # whose whole slide is known to be there
    complete_tiles: int
    positives: int
    positive_class: str
    negative_class: str  # of several it is "other"
    threshold: float
    rounds: int
    metrics: dict[str, Interval]
    confusion: tuple[tuple[int, int], tuple[int, int]]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the figures has to know."""
        found = []
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
        return asdict(self) | {"warnings": list(self.warnings)}

    def to_text(self) -> str:
        """The same as a table for people."""
        name = self.positive_class
        return "\n".join(
            [
                f"{self.model} {self.version} on {self.data}"
                + (f", part {self.part}" if self.part else ""),
                f"{self.tiles:,} tiles of {self.patients} patients, "
                f"{self.positives / self.tiles:.1%} {name}; threshold {self.threshold:g}",
                "",
                f"{'metric':<26}{'value':>8}   95 % interval over patients",
                *(_row(metric, interval) for metric, interval in self.metrics.items()),
                "",
                *self._confusion_lines(),
                *(f"\nwarning: {warning}" for warning in self.warnings),
            ]
        )

    def _confusion_lines(self) -> Iterator[str]:
        names = (self.negative_class, self.positive_class)
        width = max(map(len, names)) + len("predicted ") + 2
        yield " " * width + "".join(f"{'predicted ' + name:>{width}}" for name in names)
        for name, counts in zip(names, self.confusion, strict=True):
            yield f"{'truly ' + name:<{width}}" + "".join(f"{count:>{width},}" for count in counts)


def evaluate(
    model: str | Path,
    data: Path,
    *,
    part: str | None = None,
    complete: bool | None = None,
    split: Path = IDC_SPLIT,
    device: str = "auto",
    batch_size: int | None = None,
    trust_code: bool = False,
    rounds: int = 1000,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """The model of `resolve_model` on a folder of labelled tiles, or on one part of its split.

    complete: only patients whose whole slide is there (True) or only a sample of it (False); in one
    pool a few slides outweigh all sampled patients, because they have most of the tiles.
    rounds: of the bootstrap. progress: called with tiles done and tiles in all. Raises ModelError.
    """
    tiles, divided = load_tiles(data), read_split(split)
    chosen = _chosen(divided, tiles, part, complete, data)
    classifier = load_classifier(model, device, batch_size=batch_size, trust_code=trust_code)
    with closing(classifier):
        return evaluate_classifier(
            classifier, chosen, divided, data=data.name, part=part, rounds=rounds, progress=progress
        )


def evaluate_classifier(
    classifier: Classifier,
    tiles: TileSet,
    split: Split,
    *,
    data: str,
    part: str | None = None,
    rounds: int = 1000,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Predictions at the card's threshold; data, part: names for the record."""
    card = classifier.card
    _require_same_contract(card)
    prob = _score(classifier, tiles, progress)[:, card.positive_index]
    (tn, fp), (fn, tp) = confusion(tiles.label, prob, card.threshold).tolist()
    listed = {row.patient: row.part for row in split.rows}
    return Evaluation(
        model=card.name,
        version=card.version,
        card_sha256=card.sha256,
        weights_sha256=card.weights_sha256,
        device=classifier.device,
        data=data,
        part=part,
        tiles=len(tiles),
        patients=len(tiles.patients),
        patients_of=dict(Counter(listed.get(name, "unlisted") for name in tiles.patients)),
        complete_patients=len(tiles.select(_is_complete(tiles)).patients),
        complete_tiles=int(_is_complete(tiles).sum()),
        positives=int(tiles.label.sum()),
        positive_class=card.positive_class,
        negative_class=_negative_class(card),
        threshold=card.threshold,
        rounds=rounds,
        metrics=patient_bootstrap(tiles.label, prob, tiles.patient, card.threshold, rounds=rounds),
        confusion=((tn, fp), (fn, tp)),
    )


def _chosen(
    split: Split, tiles: TileSet, part: str | None, complete: bool | None, data: Path
) -> TileSet:
    if part is not None and part not in PARTS:
        raise DatasetError(f"part {part!r}: use {', '.join(PARTS)}")
    taken = tiles if part is None else split.take(tiles, part)
    if complete is not None:
        taken = taken.select(_is_complete(taken) == complete)
    if not len(taken):
        kind = {None: "", True: "complete ", False: "sampled "}[complete]
        where = f" in the part {part!r} of the split" if part else ""
        raise DatasetError(f"no {kind}patient of {data} is{where or ' there'}")
    return taken


def _is_complete(tiles: TileSet) -> NDArray[np.bool_]:
    """Of each tile, whether all of its patient's tiles are known to be there: bool (n,)."""
    partly = np.unique(tiles.patient[~tiles.complete])
    return ~np.isin(tiles.patient, partly)


def _negative_class(card: ModelCard) -> str:
    others = [name for name in card.classes if name != card.positive_class]
    return others[0] if len(others) == 1 else "other"


def _require_same_contract(card: ModelCard) -> None:
    if card.tile_px != TILE_PX or abs(card.mpp / TILE_MPP - 1) > 0.1:
        raise ModelError(
            f"{card.name} takes {card.tile_px} px at {card.mpp:g} um/px; these tiles are "
            f"{TILE_PX} px at {TILE_MPP:g} um/px, so it cannot be evaluated on them"
        )


def _score(
    classifier: Classifier, tiles: TileSet, progress: Callable[[int, int], None] | None
) -> NDArray[np.float32]:
    prob = np.empty((len(tiles), len(classifier.card.classes)), np.float32)
    for start in range(0, len(tiles), STEP):
        prob[start : start + STEP] = classifier.predict(tiles.rgb[start : start + STEP])
        if progress is not None:
            progress(min(start + STEP, len(tiles)), len(tiles))
    return prob


def _row(metric: str, interval: Interval) -> str:
    name = LABELS.get(metric, metric)
    return f"{name:<26}{interval.value:>8.3f}   {interval.low:.3f} to {interval.high:.3f}"
