"""Self-supervised training on tiles without their labels: what a network can start from where
ImageNet weights are not to be had.

SimSiam (Chen & He 2021, arXiv:2011.10566): two views of a tile shall be told from each other by a
small predictor; no negative pairs, no second network, small batches suffice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.checkpoint import save_weights
from models.datasets import Labelled
from models.descent import Descent
from models.feed import Feed
from models.freezing import embedding_layers
from models.parallel import Processes
from models.recipe import TrainConfig
from models.registry import build
from models.sampling import cut_batches, draw_epoch

__all__ = ["PRETRAINED", "SimSiam", "pretrain"]

PRETRAINED = "pretrained.safetensors"
STATE = "pretraining.safetensors"
PROJECTED = 512
BOTTLENECK = 128
"""Widths of projector and predictor: a quarter of the paper's, whose networks answer with 2048."""

OnEpoch = Callable[[int, int, float], None]


def pretrain(
    config: TrainConfig,
    tiles: Labelled,
    out: Path,
    processes: Processes,
    on_epoch: OnEpoch = lambda epoch, epochs, loss: None,
) -> Path:
    """Trains the recipe's architecture on the tiles' pixels; the path of its weights in `out`.

    A run that was stopped goes on where it was; one that is done is taken as it is.
    """
    path = out / PRETRAINED
    if path.is_file():
        return path
    plan = _plan(config)
    torch.manual_seed(plan.seed)
    network = SimSiam(build(plan.architecture, len(plan.classes)), plan.input_px or plan.tile_px)
    descent = Descent(network.to(processes.device), plan, processes)
    feed = Feed(plan, processes.device)
    done = (descent.resume(out / STATE) or {"epoch": 0})["epoch"]
    for epoch in range(done, plan.epochs):
        batches = cut_batches(draw_epoch(tiles, plan, epoch), plan.batch_size)
        losses = [
            _step(descent, feed, tiles, processes.share(batch), (epoch, i, len(batches)))
            for i, batch in enumerate(batches)
        ]
        descent.save(out / STATE, {"epoch": epoch + 1})
        on_epoch(epoch + 1, plan.epochs, float(np.mean(losses)))
    if processes.is_first:
        save_weights(network.encoder, path, dtype=torch.float32)
        (out / STATE).unlink(missing_ok=True)
    processes.wait()
    return path


class SimSiam(nn.Module):
    """encoder: the classifier without its last layer."""

    def __init__(self, classifier: nn.Module, side_px: int) -> None:
        super().__init__()
        self.encoder = embedding_layers(classifier)
        with torch.inference_mode():
            width = self.encoder.eval()(torch.zeros(1, 3, side_px, side_px)).shape[1]
        self.projector = nn.Sequential(
            nn.Linear(width, PROJECTED, bias=False),
            nn.BatchNorm1d(PROJECTED),
            nn.ReLU(inplace=True),
            nn.Linear(PROJECTED, PROJECTED, bias=False),
            nn.BatchNorm1d(PROJECTED, affine=False),
        )
        self.predictor = nn.Sequential(
            nn.Linear(PROJECTED, BOTTLENECK, bias=False),
            nn.BatchNorm1d(BOTTLENECK),
            nn.ReLU(inplace=True),
            nn.Linear(BOTTLENECK, PROJECTED),
        )

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """Two views of the same tiles, float (n, 3, h, w) → the loss: -1 where all agree."""
        targets = [self.projector(self.encoder(view)) for view in (one, other)]
        guesses = [self.predictor(target) for target in targets]
        return _distance(guesses[0], targets[1]) + _distance(guesses[1], targets[0])


def _distance(guess: Tensor, target: Tensor) -> Tensor:
    return -functional.cosine_similarity(guess.float(), target.detach().float()).mean() / 2


def _plan(config: TrainConfig) -> TrainConfig:
    """The recipe as far as it says how to pretrain; no tile is blanked: all would be the same."""
    asked = config.pretrain
    return replace(
        config,
        phases=((asked.epochs, asked.crop_px),),
        schedule="cosine",
        decay_epochs=asked.epochs,
        warmup_epochs=0,
        batch_size=asked.batch_size,
        optimizer="sgd",
        learning_rate=asked.learning_rate,
        weight_decay=asked.weight_decay,
        augment=replace(config.augment, blank=0.0, white=0.0),
    )


def _step(
    descent: Descent,
    feed: Feed,
    tiles: Labelled,
    index: np.ndarray[tuple[int], np.dtype[np.int64]],
    at: tuple[int, int, int],
) -> float:
    """at: epoch, step, steps in an epoch."""
    epoch, step, steps = at
    plan = descent.config
    rng = np.random.default_rng([plan.seed, epoch, step, descent.processes.rank])
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    rgb, label = tiles.batch(index), np.zeros(len(index), np.int64)
    views = [
        feed.normalised(feed.augmented(rgb, label, plan.crop_px(epoch), generator)[0])
        for _ in range(2)
    ]
    with descent.forwarding() as network:
        loss = network(*views)
    return descent.step(loss, plan.rate(epoch + step / steps))
