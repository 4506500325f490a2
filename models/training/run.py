"""What a network learns from labelled tiles: a step, an epoch's batches, a validation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.datasets import Labelled
from models.errors import ModelError
from models.recipe import TrainConfig
from models.training.descent import Descent, Weights
from models.training.feed import Feed
from models.training.losses import balanced_weights, make_loss
from models.training.parallel import Processes
from models.training.sampling import cut_batches, draw_epoch
from models.training.teaching import Teachers

__all__ = ["Run", "Validation", "draw_seed"]

UInt8Array = npt.NDArray[np.uint8]
Int64Array = npt.NDArray[np.int64]
BATCH_PX = 128 * 50 * 50  # of a batch that is validated


@dataclass(frozen=True)
class Validation:
    """Of the averaged weights, uncalibrated. auc: of the positive class against all others; None
    where the validation tiles lack one of the two."""

    loss: float
    accuracy: float
    auc: float | None

    def watched(self, what: str) -> float:
        """Smaller is better."""
        if what == "loss":
            return self.loss
        if what == "accuracy" or self.auc is None:
            return -self.accuracy
        return -self.auc


class Run:
    """Every random number is drawn from (seed, epoch, step): no generator's state to keep."""

    def __init__(
        self,
        network: nn.Module,
        config: TrainConfig,
        label: Int64Array,
        processes: Processes,
        teachers: Teachers | None = None,
    ) -> None:
        """network: on its device already. label: of the training tiles, to weigh the classes."""
        self.config = config
        self.processes = processes
        self.descent = Descent(network, config, processes)
        self.feed = Feed(config, processes.device)
        self.teachers = teachers
        weight = balanced_weights(label, config.classes).to(processes.device)
        self._loss = make_loss(
            config.loss,
            weight,
            gamma=config.focal_gamma,
            label_smoothing=config.label_smoothing,
        )

    @property
    def result(self) -> Weights:
        """The weights that training was for: the averaged ones."""
        return self.descent.result

    def batches(self, data: Labelled, epoch: int) -> list[Int64Array]:
        """This process's part of each batch of an epoch."""
        index = draw_epoch(data, self.config, epoch)
        return [self.processes.share(cut) for cut in cut_batches(index, self.config.batch_size)]

    def step(self, rgb: UInt8Array, label: Int64Array, epoch: int, step: int, rate: float) -> float:
        """One batch, uint8 (n, h, w, 3), at a learning rate; returns its loss."""
        pixels, shown, target = self._prepare(rgb, label, epoch, step)
        self.seed_layers(epoch, step)
        with self.descent.forwarding() as network:
            taught = self.teachers.teach(shown, target) if self.teachers else target
            loss = self._loss(network(pixels), taught)
        return self.descent.step(loss, rate)

    def seed_layers(self, epoch: int, step: int) -> None:
        """For dropout and stochastic depth, which draw from torch's own generator."""
        seed = np.random.SeedSequence([*draw_seed(self.config, self.processes, epoch, step), 2])
        torch.manual_seed(int(seed.generate_state(1, np.uint64)[0] >> 1))

    def validate(self, data: Labelled) -> Validation:
        """Each process scores its part, all with the first one's batch-norm statistics."""
        self.processes.share_first(self.descent.average)
        parts = np.array_split(np.arange(len(data)), self.processes.count)
        score = self.processes.gathered(self.score(data, parts[self.processes.rank]))
        return measure_scores(score, data.label, self.config)

    @contextmanager
    def scoring(self) -> Iterator[nn.Module]:
        """The classifier with the averaged weights."""
        with self.descent.averaged() as network:
            yield network

    def score(self, data: Labelled, index: Int64Array) -> npt.NDArray[np.float32]:
        """Uncalibrated probabilities by the averaged weights, float32 (n, classes)."""
        size = max(1, BATCH_PX // max(self.config.tile_px, self.config.input_px) ** 2)
        scores = [torch.empty((0, len(self.config.classes)))]
        with self.scoring() as network:
            for start in range(0, len(index), size):
                pixels = self.feed.plain(data.batch(index[start : start + size]))
                scores.append(network(pixels).float().softmax(1).cpu())
        return np.asarray(torch.cat(scores).numpy())

    def save(self, path: Path, progress: dict[str, Any]) -> None:
        self.descent.save(path, progress)

    def resume(self, path: Path) -> dict[str, Any] | None:
        """What was given to save(), everything else as it was then; None where there is no file."""
        return self.descent.resume(path)

    def _prepare(
        self, rgb: UInt8Array, label: Int64Array, epoch: int, step: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Augmented and mixed pixels, normalised, those that teachers are shown, and the soft
        target (n, classes)."""
        config = self.config
        rng = np.random.default_rng(draw_seed(config, self.processes, epoch, step))
        seed, crop_px = int(rng.integers(2**62)), config.crop_px(epoch)
        generator = torch.Generator().manual_seed(seed)
        pixels, learned = self.feed.augmented(rgb, label, crop_px, generator)
        seen = [pixels]
        if self.teachers and config.teach.true_colours:  # the same places, turns and crops
            same, uncoloured = (
                torch.Generator().manual_seed(seed),
                replace(config.augment, colours=0.0),
            )
            seen.append(self.feed.augmented(rgb, label, crop_px, same, uncoloured)[0])
        target = functional.one_hot(learned, len(config.classes)).float()
        if config.mixup:
            share = float(rng.beta(config.mixup, config.mixup))
            order = torch.randperm(len(pixels), generator=generator).to(pixels.device)
            seen = [torch.lerp(one[order], one, share) for one in seen]
            target = torch.lerp(target[order], target, share)
        normal = [self.feed.normalised(one) for one in seen]
        return normal[0], normal[-1], target


def draw_seed(config: TrainConfig, processes: Processes, epoch: int, step: int) -> list[int]:
    """Another one for each process: they augment different tiles."""
    return [config.seed, epoch, step, *([processes.rank] if processes.rank else [])]


def measure_scores(
    score: npt.NDArray[np.float32], label: Int64Array, config: TrainConfig
) -> Validation:
    """Raises ModelError where the network answers with no numbers."""
    from sklearn.metrics import roc_auc_score

    if not np.isfinite(score).all():
        raise ModelError(
            f"recipe {config.name}: the network's answers are not finite any more; use a smaller "
            "learning_rate, or clip"
        )
    positive = label == config.positive_index
    is_mixed = 0 < positive.sum() < len(positive)
    return Validation(
        loss=float(-np.log(np.maximum(score[np.arange(len(label)), label], 1e-12)).mean()),
        accuracy=float((score.argmax(1) == label).mean()),
        auc=float(roc_auc_score(positive, score[:, config.positive_index])) if is_mixed else None,
    )
