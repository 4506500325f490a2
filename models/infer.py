"""Tiles in, probabilities out. No torch: a classifier without a network needs none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.card import ModelCard
from models.ensemble.members import ENSEMBLE
from models.errors import ModelError, UntrustedCode
from models.registry import (
    CLASSIFIERS,
    find_card,
    is_torchscript,
    load_builder,
    resolve_model,
)
from models.speed.tuning import Tuning, find_tuning
from wsi.heap import collector_paused

__all__ = ["Classifier", "Predictor", "ScoredBatch", "TileBatch", "load_classifier", "score_tiles"]

UInt8Array = NDArray[np.uint8]
Float32Array = NDArray[np.float32]


class Classifier(Protocol):
    """What the pipeline asks of a model. Used by one thread at a time."""

    @property
    def card(self) -> ModelCard: ...

    @property
    def device(self) -> str:
        """Where it computes and how exactly, for the record of a run."""
        ...

    @property
    def batch_size(self) -> int:
        """Tiles that it computes fastest at once, and no more than it was asked for on a core."""
        ...

    def predict(self, rgb: UInt8Array) -> Float32Array:
        """uint8 (n, tile_px, tile_px, 3) → calibrated probabilities, float32 (n, classes).

        Any n, 0 too; a tile's answer does not depend on the others. Raises ModelError.
        """
        ...

    def predict_raw(self, rgb: UInt8Array) -> Float32Array:
        """As predict(), before the card's calibration: calibrated(card, predict_raw(rgb)) is
        predict(rgb)."""
        ...

    def close(self) -> None:
        """Frees the device's memory; the classifier is not used again."""
        ...


class Predictor(Protocol):
    """What score_tiles() needs: a Classifier, or a Scorer around one."""

    @property
    def batch_size(self) -> int: ...

    def predict(self, rgb: UInt8Array) -> Float32Array: ...


class TileBatch(Protocol):
    """Tiles that follow each other in a plan; rgb may be reused once the next one is asked for."""

    @property
    def rgb(self) -> UInt8Array: ...

    @property
    def start(self) -> int: ...


@dataclass(frozen=True)
class ScoredBatch:
    """prob: what predict() answered, float32 (n, classes), of a Scorer with its channels behind;
    start: index of its first tile in the plan."""

    start: int
    prob: Float32Array


@collector_paused()
def load_classifier(
    model: str | Path,
    device: str = "auto",
    *,
    batch_size: int | None = None,
    precision: str = "auto",
    trust_code: bool = False,
    tuning: Tuning | Path | None = None,
) -> Classifier:
    """The model of `resolve_model`, ready on a device.

    device: auto, cpu, cuda, cuda:N or mps. batch_size: None chooses by device and tile; a CPU takes
    no more than that on each of its cores.
    precision: auto (bfloat16 where the processor has it), float32, bfloat16, float16 on CUDA, or
    int8, which needs a tuning in 8 bits.
    trust_code: a TorchScript file may run. tuning: how to compute, or the folder where that of this
    machine is looked for; another precision than `auto` wins over it. Raises ModelError.
    """
    card, weights = resolve_model(model)
    if card.architecture == ENSEMBLE:
        from models.ensemble.classifier import load_ensemble

        folder = find_card(model).parent
        return load_ensemble(card, folder, device, batch_size=batch_size, precision=precision)
    if weights is None:
        classifier: Classifier = load_builder(CLASSIFIERS[card.architecture])(card)
        return classifier
    if is_torchscript(weights) and not trust_code:
        raise UntrustedCode(
            f"{weights} is TorchScript: loading it runs the code in the file; allow it with "
            "--trust-code if you trust its author, or use safetensors weights"
        )
    return _load_network(card, weights, device, batch_size, precision, tuning)


def _load_network(
    card: ModelCard,
    weights: Path,
    device: str,
    batch_size: int | None,
    precision: str,
    tuning: Tuning | Path | None,
) -> Classifier:
    from models.network import TorchClassifier, choose_device, device_name, load_network

    network, is_foreign = load_network(card, weights), is_torchscript(weights)
    if isinstance(tuning, Path):
        name = device_name(choose_device(device))
        tuning = find_tuning(tuning, card, name, int8=precision == "int8")
    if precision == "int8":
        precision = _surrounding_int8(tuning, card)
    return TorchClassifier(
        card,
        network,
        device,
        batch_size=batch_size,
        # what a foreign program computes in bfloat16, or in several threads, nobody has checked
        precision="float32" if is_foreign and precision == "auto" else precision,
        tuning=tuning,
        lanes=1 if is_foreign else None,
    )


def _surrounding_int8(tuning: Tuning | None, card: ModelCard) -> str:
    """The precision of what is not in 8 bits. Raises ModelError where the ranges are not known."""
    if tuning is None or not tuning.is_int8:
        raise ModelError(
            f"{card.name} in int8: the ranges of its numbers were not measured on this machine; "
            "run `wsi doctor --tune --int8 DATA` first, or use precision auto"
        )
    return tuning.precision


def score_tiles(classifier: Predictor, batches: Iterable[TileBatch]) -> Iterator[ScoredBatch]:
    """Scores in the order of the tiles, in batches of the classifier's own size.

    While a batch is in the network, the next one is read and the last one's scores are written: at
    most three batches are in memory. Small batches are joined; a gap in the plan is kept.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="network") as network:
        in_flight: tuple[int, Future[Float32Array]] | None = None
        for start, rgb in _regroup(batches, classifier.batch_size):
            submitted = start, network.submit(classifier.predict, rgb)
            if in_flight is not None:
                yield ScoredBatch(in_flight[0], in_flight[1].result())
            in_flight = submitted
        if in_flight is not None:
            yield ScoredBatch(in_flight[0], in_flight[1].result())


def _regroup(batches: Iterable[TileBatch], size: int) -> Iterator[tuple[int, UInt8Array]]:
    """(start, rgb) of `size` tiles, fewer before a gap and at the end; rgb is the caller's own."""
    start, filled = 0, 0
    staged: UInt8Array = np.empty(0, np.uint8)
    for batch in batches:
        if filled and batch.start != start + filled:
            yield start, staged[:filled]
            filled = 0
        taken = 0
        while taken < len(batch.rgb):
            if not filled:
                start = batch.start + taken
                staged = np.empty((size, *batch.rgb.shape[1:]), np.uint8)
            count = min(size - filled, len(batch.rgb) - taken)
            staged[filled : filled + count] = batch.rgb[taken : taken + count]
            filled, taken = filled + count, taken + count
            if filled == size:
                yield start, staged
                filled = 0
    if filled:
        yield start, staged[:filled]
