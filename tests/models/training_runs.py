"""What tests of training share: a small recipe, small networks, and data of a few patients."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torchvision.ops import StochasticDepth

from models.recipe import TrainConfig
from models.registry import MODELS
from models.split import read_split
from models.training.augment import AugmentConfig
from tests.models.labelled import build_tiny, make_tiles, write_packed

STILL = AugmentConfig(
    stain_scale=0, stain_shift=0, brightness=0, contrast=0, blur=0, warp=0, white=0, blank=0
)

SMALL = TrainConfig(
    "small",
    architecture="tiny",
    phases=((3, 32), (1, 48)),
    decay_epochs=1,
    warmup_epochs=0,
    batch_size=16,
    patient_tiles=8,
    learning_rate=0.1,
    ema=0.5,
    validate_every=1,
    mixup=0.2,
    bootstrap_rounds=10,
    precision="float32",  # on every machine
)
COLOUR = replace(
    SMALL, architecture="linear", phases=((3, 50),), mixup=0.0, momentum=0.5, augment=STILL
)
STALLED = "stalled in the second step of the third epoch"


def register() -> None:
    """Architectures of tests, as any program can add its own."""
    MODELS["tiny"] = "tests.models.labelled:build_tiny"
    MODELS["linear"] = "tests.models.training_runs:build_linear"
    MODELS["dropping"] = "tests.models.training_runs:build_dropping"


@contextmanager
def registered() -> Iterator[None]:
    """The table of architectures with those of tests in it; afterwards as it was."""
    before = dict(MODELS)
    register()
    yield
    MODELS.clear()
    MODELS.update(before)


def build_linear(num_classes: int) -> nn.Module:
    """Of a tile's mean colour: what turns and places of pixels change nothing of."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, num_classes))


def build_dropping(num_classes: int) -> nn.Module:
    """As build_tiny, with layers that draw random numbers while it learns."""
    network = build_tiny(num_classes)
    return nn.Sequential(nn.Dropout(0.2), StochasticDepth(0.3, "row"), *network.children())


def build_stalling(num_classes: int) -> nn.Module:
    """As build_tiny, but its sixth step says so, and waits for a word on stdin."""
    network = build_tiny(num_classes)
    steps = 0

    def stall(module: nn.Module, _: object) -> None:
        nonlocal steps
        steps += module.training
        if steps == 6:
            print(STALLED, flush=True)
            sys.stdin.readline()

    network.register_forward_pre_hook(stall)
    return network


def write_data(folder: Path, per_class: int = 4, *, exchanged: bool = False) -> Path:
    """Tiles of seven patients of the repository's split: four train, two validate.

    exchanged: each tile has the label of the other class.
    """
    split = read_split()
    chosen = [
        patient
        for part, count in (("train", 4), ("validation", 2), ("test", 1))
        for patient in split.patients(part, complete=False)[:count]
    ]
    tiles = make_tiles(tuple(chosen), per_class=per_class)
    return write_packed(replace(tiles, label=1 - tiles.label) if exchanged else tiles, folder)


def read_weights_beside(card: Path) -> dict[str, torch.Tensor]:
    return load_file(card.with_suffix(".safetensors"))


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
