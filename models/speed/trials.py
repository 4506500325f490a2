"""Which way of computing is the fastest here: each is tried on tiles, and has to answer alike."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.card import ModelCard
from models.errors import ModelError, UnknownModel
from models.network import (
    TorchClassifier,
    choose_device,
    default_batch,
    has_bfloat16,
    load_network,
)
from models.registry import is_torchscript, resolve_model
from models.speed.forms import FILTERED_TILES
from models.speed.tuning import Tuning, today

__all__ = ["Trial", "candidates", "fastest", "score_plainly", "try_forms", "tuning_of"]

TRIAL_S = 1.0
LEAST_CALLS = 3

MOST_DIFFERENCE = {"float32": 1e-4, "bfloat16": 1e-2, "float16": 1e-2}
"""Of a probability from plain float32's, above which a way of computing is refused."""

BATCH_FACTORS = (0.25, 0.5, 2.0)
"""Of the batch that is the default, tried with the form that won."""

LEAST_LEAD = 1.03
"""What a further way must be faster by to be taken: less is the clock's noise."""

UInt8Array = NDArray[np.uint8]
Float32Array = NDArray[np.float32]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trial:
    """first_s: of the first batch, compilation included. difference: the largest of a probability
    from plain float32. refusal: why it is not to be used, "" where it is.
    """

    form: str
    precision: str
    batch_size: int
    tiles_s: float = 0.0
    first_s: float = 0.0
    difference: float | None = None
    refusal: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def to_text(self) -> str:
        name = f"{self.form}, {self.precision}, {self.batch_size} at once"
        if self.refusal:
            return f"{name}: not used, {self.refusal}"
        return (
            f"{name}: {self.tiles_s:,.0f} tiles/s, first batch {self.first_s:.1f} s, "
            f"probabilities differ by at most {self.difference:.1g}"
        )


def candidates(model: str | Path, device: str = "auto") -> list[Tuning]:
    """The ways that this device has, plain float32 first; int8 apart, see models.speed.accuracy.

    Raises UnknownModel where there is no network.
    """
    card, weights = _network_of(model)
    where = choose_device(device)
    batch = default_batch(card, where)
    found = [Tuning("plain", "float32", batch)]
    if is_torchscript(weights):  # nobody has checked what it computes otherwise
        return found
    if where.type == "cpu":
        # with few tiles at once it does not pay; more of them may
        found.append(Tuning("filtered", "float32", max(batch, FILTERED_TILES)))
        found.append(Tuning("compiled", "float32", batch))
        if find_spec("openvino"):
            found.append(Tuning("openvino", "float32", batch))
    precisions = ["bfloat16"] if has_bfloat16(where) else []
    precisions += ["float16"] if where.type == "cuda" else []
    forms = ["plain", "compiled"] + (["graphed"] if where.type == "cuda" else [])
    return found + [Tuning(form, one, batch) for one in precisions for form in forms]


def try_forms(
    model: str | Path,
    rgb: UInt8Array,
    ways: Sequence[Tuning],
    device: str = "auto",
    trial_s: float = TRIAL_S,
) -> Iterator[Trial]:
    """One trial after the other: each of the ways, then other batches of the fastest.

    rgb: tiles of the kind, uint8 (n, tile_px, tile_px, 3); a batch is made of them by repetition.
    trial_s: least time of one. Raises ModelError where none of the ways works.
    """
    wanted = score_plainly(model, rgb, device)
    done: list[Trial] = []
    for way in ways:
        done.append(_try(model, device, way, rgb, wanted, trial_s))
        yield done[-1]
    best = fastest(done)
    for factor in BATCH_FACTORS:
        way = tuning_of(best, ways)
        if (size := int(way.batch_size * factor)) >= 1:
            yield _try(model, device, replace(way, batch_size=size), rgb, wanted, trial_s)


def fastest(trials: Sequence[Trial]) -> Trial:
    """Of those that may be used; an earlier one unless a later one is faster by more than noise.

    Raises ModelError where none may be used.
    """
    usable = [trial for trial in trials if not trial.refusal]
    if not usable:
        raise ModelError(f"no way to compute works here: {trials[0].refusal}")
    best = usable[0]
    for trial in usable[1:]:
        if trial.tiles_s > LEAST_LEAD * best.tiles_s:
            best = trial
    return best


def score_plainly(model: str | Path, rgb: UInt8Array, device: str) -> Float32Array:
    """The probabilities that others are compared with: float32, layer by layer."""
    card, weights = _network_of(model)
    plain = Tuning("plain", "float32", default_batch(card, choose_device(device)))
    return TorchClassifier(card, load_network(card, weights), device, tuning=plain).predict(rgb)


def tuning_of(trial: Trial, ways: Sequence[Tuning]) -> Tuning:
    """What to keep of a trial of one of the ways."""
    way = next(one for one in ways if (one.form, one.precision) == (trial.form, trial.precision))
    return replace(
        way,
        batch_size=trial.batch_size,
        tiles_s=round(trial.tiles_s, 1),
        difference=trial.difference,
        measured=today(),
    )


def _network_of(model: str | Path) -> tuple[ModelCard, Path]:
    card, weights = resolve_model(model)
    if weights is None:
        raise UnknownModel(f"{card.name} has no network: there is nothing to tune")
    return card, weights


def _try(
    model: str | Path,
    device: str,
    way: Tuning,
    rgb: UInt8Array,
    wanted: Float32Array,
    trial_s: float,
) -> Trial:
    trial = Trial(way.form, way.precision, way.batch_size)
    card, weights = _network_of(model)
    try:
        classifier = TorchClassifier(card, load_network(card, weights), device, tuning=way)
        batch = np.resize(rgb, (classifier.batch_size, *rgb.shape[1:]))
        first_s, tiles_s = _measure(lambda: classifier.predict(batch), len(batch), trial_s)
        difference = float(np.abs(classifier.predict(rgb) - wanted).max())
        classifier.close()
    # a missing compiler or driver, and whatever a backend raises: it is no way here
    except Exception as error:
        logger.info("%s, %s: %s", way.form, way.precision, error)
        return replace(trial, refusal=str(error).partition("\n")[0][:200] or type(error).__name__)
    most = MOST_DIFFERENCE[way.precision]
    too_far = way.form != "int8" and difference > most  # int8 is let in by what it loses
    refusal = f"probabilities differ by {difference:.2g}, allowed are {most:g}" if too_far else ""
    return replace(trial, tiles_s=tiles_s, first_s=first_s, difference=difference, refusal=refusal)


def _measure(work: Callable[[], object], tiles: int, least_s: float) -> tuple[float, float]:
    """Seconds of the first call, and tiles a second: the best of several calls."""
    started = time.perf_counter()
    work()
    first_s = time.perf_counter() - started
    work()
    spent: list[float] = []
    while sum(spent) < least_s or len(spent) < LEAST_CALLS:
        started = time.perf_counter()
        work()
        spent.append(time.perf_counter() - started)
    return first_s, tiles / min(spent)
