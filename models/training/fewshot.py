"""Prototypical networks: Snell et al. 2017, arXiv:1703.05175.

An episode shows a few tiles of each class (the support) and asks of which class others (the
queries) are: of that whose mean support embedding, its prototype, is nearest. Squared distances to
prototypes are linear in the embedding but for a term that all classes share, so what comes out is
an ordinary network whose last layer holds the prototypes, and serves like any other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.datasets import Labelled
from models.errors import DatasetError
from models.recipe import TrainConfig
from models.registry import build
from models.training.descent import Weights
from models.training.freezing import embedding_layers
from models.training.parallel import Processes
from models.training.run import Run, draw_seed

__all__ = ["EpisodeRun", "draw_episode", "prototype_logits"]

Int64Array = npt.NDArray[np.int64]
PROTOTYPE_TILES = 256
"""Training tiles of a class whose mean is its prototype once training is over."""
BATCH = 16


class EpisodeRun(Run):
    """As Run, with episodes for batches."""

    def __init__(
        self, network: nn.Module, config: TrainConfig, data: Labelled, processes: Processes
    ) -> None:
        """network: a classifier, whose last layer is taken away. data: the training tiles."""
        super().__init__(embedding_layers(network), config, data.label, processes)
        self._data = data
        self._served = build(config.architecture, len(config.classes)).to(processes.device)

    def batches(self, data: Labelled, epoch: int) -> list[Int64Array]:
        """Episodes; of several processes each has its own."""
        return [
            draw_episode(data.label, self.config, self._rng(epoch, episode))
            for episode in range(self.config.few_shot.episodes)
        ]

    def step(
        self, rgb: npt.NDArray[np.uint8], label: Int64Array, epoch: int, step: int, rate: float
    ) -> float:
        """One episode: the first `shots` tiles of each class are its support."""
        seed = int(self._rng(epoch, step).integers(2**62))
        generator = torch.Generator().manual_seed(seed)
        pixels, _ = self.feed.augmented(rgb, label, self.config.crop_px(epoch), generator)
        self.seed_layers(epoch, step)
        with self.descent.forwarding() as network:
            embedding = network(self.feed.normalised(pixels)).float()
        classes = len(self.config.classes)
        per_class = embedding.view(classes, -1, embedding.shape[1])
        shots = self.config.few_shot.shots
        prototypes = per_class[:, :shots].mean(1)
        queries = per_class[:, shots:].flatten(0, 1)
        target = torch.arange(classes, device=queries.device)
        target = target.repeat_interleave(per_class.shape[1] - shots)
        weight, bias = prototype_logits(prototypes)
        loss = functional.cross_entropy(functional.linear(queries, weight, bias), target)
        return self.descent.step(loss, rate)

    @property
    def result(self) -> Weights:
        """Of the classifier that serves: the embedding's, and prototypes as its last layer."""
        return self._with_prototypes(self.descent.result)

    @contextmanager
    def scoring(self) -> Iterator[nn.Module]:
        self._served.load_state_dict(self._with_prototypes(self.descent.average))
        self._served.eval()
        with torch.inference_mode():
            yield self._served

    def _with_prototypes(self, weights: Weights) -> Weights:
        """Prototypes are the means of training tiles as they are, not augmented."""
        last = [name for name, _ in self._served.named_parameters()][-2:]
        weight, bias = prototype_logits(self._prototypes(weights))
        return {**weights, last[0]: weight, last[1]: bias}

    def _prototypes(self, weights: Weights) -> Tensor:
        means = []
        with self.descent.averaged(weights) as network:
            for one in range(len(self.config.classes)):
                index = np.flatnonzero(self._data.label == one)
                index = np.random.default_rng(self.config.seed).permutation(index)[:PROTOTYPE_TILES]
                parts = [
                    network(self.feed.plain(self._data.batch(index[i : i + BATCH]))).float()
                    for i in range(0, len(index), BATCH)
                ]
                means.append(torch.cat(parts).mean(0))
        return torch.stack(means).clone()

    def _rng(self, epoch: int, step: int) -> np.random.Generator:
        return np.random.default_rng([*draw_seed(self.config, self.processes, epoch, step), 1])


def draw_episode(label: Int64Array, config: TrainConfig, rng: np.random.Generator) -> Int64Array:
    """Indices, class by class: `shots` of support, then `queries`; no tile is both.

    Raises DatasetError where a class has too few tiles.
    """
    count = config.few_shot.shots + config.few_shot.queries
    episode = []
    for one, name in enumerate(config.classes):
        index = np.flatnonzero(label == one)
        if len(index) < count:
            raise DatasetError(
                f"class {name} has {len(index)} training tiles; an episode of "
                f"{config.few_shot.shots} shots and {config.few_shot.queries} queries needs {count}"
            )
        episode.append(rng.choice(index, count, replace=False))
    return np.concatenate(episode)


def prototype_logits(prototypes: Tensor) -> tuple[Tensor, Tensor]:
    """float (classes, d) → weight (classes, d) and bias (classes,) of the layer whose logits are
    the negative squared distances / sqrt(d), but for what is the same for all classes.

    The root keeps logits of wide embeddings near 1; the temperature makes up for it.
    """
    root = prototypes.shape[1] ** 0.5
    return 2 * prototypes / root, -(prototypes**2).sum(1) / root
