"""Patients that a model knows already: what it says of them is no test of it."""

from __future__ import annotations

from models.card import ModelCard
from models.errors import DatasetError
from models.evaluation.selection import Selection

__all__ = ["refuse_seen"]


def refuse_seen(card: ModelCard, selection: Selection) -> str | None:
    """Where no part was asked for, a sentence about patients that the model learned from.

    Cards say whom a model was trained and validated on since `wsi train` writes that; of others
    nothing is known here. Raises DatasetError where a part of a split was asked for that has
    patients whom the model knows from a part before it.
    """
    training = card.metrics.get("training", {})
    known = {"validation": training.get("trained_on", [])}
    known["test"] = [*known["validation"], *training.get("validated_on", [])]
    if selection.part == "train":
        return None
    patients = set(selection.pictures.patients)
    seen = sorted(patients.intersection(known[selection.part or "test"]))
    if not seen:
        return None
    of = "patients" if selection.pictures.patients_known else "pictures"
    told = f"{len(seen)} of the {len(patients)} {of}"
    if selection.part is None:
        return f"{card.name} was trained or chosen with {told}, so its figures are too good"
    raise DatasetError(
        f"{card.name} was trained or chosen with {told} in the part {selection.part!r} of the "
        f"split, {seen[0]} among them, so its figures would be too good; name the pictures as they "
        "were named for its training (magnification, subtypes), or the split that it wrote: "
        "--split RUN/split.json"
    )
