"""A small ensemble for tests: two networks that learn in milliseconds, on seven patients."""

from collections.abc import Callable
from pathlib import Path

from models.recipe import TrainConfig, read_recipe
from models.train import TrainProgress, train

MEMBER = """
name = "{name}"
architecture = "{architecture}"
phases = [[2, 48]]
decay_epochs = 1
warmup_epochs = 0
batch_size = 16
learning_rate = 0.1
validate_every = 1
bootstrap_rounds = 5
mean = [0.8, 0.6, 0.7]
"""

ENSEMBLE = """
name = "both"
architecture = "ensemble"
bootstrap_rounds = 5
[ensemble]
members = ["{folder}/one.toml", "{folder}/other.toml"]
trees = 5
rounds = 3
[card]
limits = ["Made for tests."]
"""


def write_recipes(folder: Path) -> TrainConfig:
    """Of an ensemble of `one` and `other`, networks of training_runs.register()."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, architecture in (("one", "tiny"), ("other", "linear")):
        text = MEMBER.format(name=name, architecture=architecture)
        (folder / f"{name}.toml").write_text(text)
    (folder / "both.toml").write_text(ENSEMBLE.format(folder=folder))
    return read_recipe(folder / "both.toml")


def train_both(
    data: Path, folder: Path, on_progress: Callable[[TrainProgress], None] = lambda progress: None
) -> Path:
    """The path of the card."""
    config = write_recipes(folder / "recipes")
    return train(config, data, folder / "both", device="cpu", on_progress=on_progress)
