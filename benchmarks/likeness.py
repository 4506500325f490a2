"""How often a model warns of slides unlike its training's: python -m benchmarks.likeness FOLDER

FOLDER: IDC tiles. Patients of the validation part as they are, which should not be warned of, and
with their stains changed in optical density, which mostly should. Each patient's sample counts.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.appearance import DENSITY, LOOK_MPP, look_of
from models.datasets import load_tiles
from models.registry import DEFAULT_MODEL, resolve_model
from models.split import read_split
from models.training.looks import small_pixels

Change = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def channel(index: int, factor: float) -> Change:
    factors = np.where(np.arange(3) == index, factor, 1).astype(np.float32)
    return lambda density: density * factors


CHANGES: dict[str, Change] = {
    "as it is": lambda density: density,
    "all stains x 1.5": lambda density: density * 1.5,
    "all stains x 2": lambda density: density * 2,
    "all stains x 0.5": lambda density: density * 0.5,
    "red x 1.5": channel(0, 1.5),
    "red x 2": channel(0, 2),
    "green x 0.6": channel(1, 0.6),
    "blue x 1.5": channel(2, 1.5),
    "a yellow filter (blue + 0.08)": lambda density: density + np.array([0, 0, 0.08], np.float32),
    "a dimmer lamp (+ 0.1)": lambda density: density + np.float32(0.1),
    "red and blue exchanged": lambda density: density[..., ::-1],
    "grey": lambda density: np.repeat(density.mean(-1, keepdims=True), 3, -1),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--part", default="validation")
    options = parser.parse_args()
    card = resolve_model(options.model).card
    if card.appearance is None:
        parser.error(f"the card of {card.name} does not say what it learned from")
    tiles = read_split().take(load_tiles(options.data), options.part)
    factor = max(1, int(LOOK_MPP / card.mpp))
    pixels = [small_pixels(tiles.rgb[tiles.patient == name], factor) for name in tiles.patients]
    print(f"{len(pixels)} patients of the part {options.part}, limit {card.appearance.limit}")
    print(f"{'change':<32} {'warned of':>10} {'median distance':>16}")
    for name, change in CHANGES.items():
        looks = [look_of(changed(rgb, change)) for rgb in pixels]
        distances = [card.appearance.distance(look) for look in looks if look is not None]
        warned = sum(distance > card.appearance.limit for distance in distances)
        print(f"{name:<32} {warned:>4} of {len(distances):<3} {np.median(distances):>16.2f}")


def changed(rgb: NDArray[np.uint8], change: Change) -> NDArray[np.uint8]:
    grey = 256 * 10.0 ** -change(DENSITY[rgb]) - 1
    return np.asarray(np.clip(grey, 0, 255).round(), np.uint8)


if __name__ == "__main__":
    main()
