"""Self-supervised training on tiles without their labels: what a network can start from where
ImageNet weights are not to be had.

SimSiam (Chen & He 2021, arXiv:2011.10566): two views of a tile shall be told from each other by a
small predictor; no negative pairs, no second network, small batches suffice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import StochasticDepth

from models.checkpoint import save_weights
from models.datasets import Labelled
from models.recipe import TrainConfig
from models.registry import build
from models.training.descent import Descent
from models.training.feed import Feed
from models.training.freezing import embedding_layers
from models.training.norms import fold_norms, lend_norms
from models.training.parallel import Processes
from models.training.sampling import cut_batches, draw_epoch

__all__ = ["SimSiam", "pretrain"]

RATE_BATCH = 256
PROJECTED = 512
BOTTLENECK = 128
"""Widths of projector and predictor: a quarter of the paper's, whose networks answer with 2048."""

OnEpoch = Callable[[int, int, float], None]


def pretrain(
    config: TrainConfig,
    tiles: Labelled,
    folder: Path,
    processes: Processes,
    on_epoch: OnEpoch = lambda epoch, epochs, loss: None,
) -> Path:
    """Trains the recipe's architecture on the tiles' pixels; the path of its weights in `folder`.

    A run that was stopped goes on where it was; one that is done is taken as it is.
    """
    plan = _plan(config)
    path = folder / f"{_name(plan, tiles)}.safetensors"
    if path.is_file():
        return path
    state = path.with_suffix(".state.safetensors")
    torch.manual_seed(plan.seed)
    classifier = build(plan.architecture, len(plan.classes))
    lend_norms(classifier)
    network = SimSiam(classifier, plan.input_px or plan.tile_px)
    descent = Descent(network.to(processes.device), plan, processes)
    feed = Feed(plan, processes.device)
    done = (descent.resume(state) or {"epoch": 0})["epoch"]
    for epoch in range(done, plan.epochs):
        batches = cut_batches(draw_epoch(tiles, plan, epoch), plan.batch_size)
        losses = [
            _step(descent, feed, tiles, processes.share(batch), (epoch, i, len(batches)))
            for i, batch in enumerate(batches)
        ]
        descent.save(state, {"epoch": epoch + 1})
        on_epoch(epoch + 1, plan.epochs, float(np.mean(losses)))
    if processes.is_first:
        fold_norms(network.encoder)
        save_weights(network.encoder, path, dtype=torch.float32)
        state.unlink(missing_ok=True)
    processes.wait()
    return path


class SimSiam(nn.Module):
    """encoder: the classifier without its last layer."""

    def __init__(self, classifier: nn.Module, side_px: int) -> None:
        super().__init__()
        self.encoder = _without_dropout(embedding_layers(classifier))
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


def _without_dropout(network: nn.Module) -> nn.Module:
    """Two views of a tile shall differ by what was done to the tile alone."""
    for layer in network.modules():
        if isinstance(layer, nn.Dropout | StochasticDepth):
            layer.p = 0.0
    return network


def _distance(guess: Tensor, target: Tensor) -> Tensor:
    return -functional.cosine_similarity(guess.float(), target.detach().float()).mean() / 2


def _plan(config: TrainConfig) -> TrainConfig:
    """A recipe of its own: recipes that differ only in what comes after share its result.

    Labels have no say in the sampling either. No tile is blanked: all of these would be the same.
    """
    asked = config.pretrain
    return TrainConfig(
        name=f"pretrained-{config.architecture}",
        architecture=config.architecture,
        tile_px=config.tile_px,
        mpp=config.mpp,
        input_px=config.input_px,
        seed=config.seed,
        sampler="all" if config.sampler == "balanced" else config.sampler,
        patient_tiles=config.patient_tiles,
        phases=((asked.epochs, asked.crop_px),),
        schedule="cosine",
        decay_epochs=asked.epochs,
        warmup_epochs=0,
        batch_size=asked.batch_size,
        learning_rate=asked.learning_rate * asked.batch_size / RATE_BATCH,
        weight_decay=asked.weight_decay,
        precision=config.precision,
        mean=config.mean,
        std=config.std,
        data=config.data,
        augment=replace(config.augment, blank=0.0, white=0.0),
    )


def _name(plan: TrainConfig, tiles: Labelled) -> str:
    """Another one for each plan and each set of tiles."""
    digest = hashlib.sha256(plan.to_json().encode())
    digest.update("\n".join([*tiles.patient.tolist(), str(tiles.label.tolist())]).encode())
    return f"{plan.name}-{digest.hexdigest()[:8]}"


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
