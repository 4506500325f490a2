"""Stand-ins for the labelled sets, written in the layouts in which they are downloaded."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

BACH = {"Normal": "n", "Benign": "b", "InSitu": "is", "Invasive": "iv"}


def make_picture(seed: int, width: int = 40, height: int = 30) -> np.ndarray:
    """Noise of its own colour: uint8 (height, width, 3)."""
    rng = np.random.default_rng(seed)
    base = rng.integers(60, 200, 3)
    return (base + rng.integers(-20, 21, (height, width, 3))).astype(np.uint8)


def write_picture(path: Path, rgb: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgb).save(path)
    return path


def write_bach(root: Path, per_class: int = 2, width: int = 64, height: int = 48) -> Path:
    """The tree of the challenge with its table; returns the folder of the photos."""
    photos = root / "ICIAR2018_BACH_Challenge" / "Photos"
    lines = []
    for label, (folder, letters) in enumerate(BACH.items()):
        for i in range(1, per_class + 1):
            name = f"{letters}{i:03d}.tif"
            write_picture(photos / folder / name, make_picture(100 * label + i, width, height))
            lines.append(f"{name},{folder}")
    (photos / "microscopy_ground_truth.csv").write_text("\n".join(lines) + "\n")
    return photos


def write_flat(root: Path, pictures: Mapping[str, int]) -> Path:
    """A picture for each name, drawn from its seed."""
    for name, seed in pictures.items():
        write_picture(root / name, make_picture(seed))
    return root


def breakhis_names(
    patients: Mapping[str, str], per_patient: int = 2, magnification: int = 40
) -> dict[str, int]:
    """patients: slide (14-1234AB) to side and type (B_A). Names with seeds, for write_flat."""
    names = [
        f"SOB_{kind}-{slide}-{magnification}-{i:03d}.png"
        for slide, kind in patients.items()
        for i in range(1, per_patient + 1)
    ]
    return {name: seed for seed, name in enumerate(names)}
