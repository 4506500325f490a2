"""What models lose on tiles of other stains, lamps and lenses: python -m benchmarks.stains FOLDER

FOLDER: IDC tiles. The validation patients that the split lists as sampled, as they are and changed
in one way at a time; a row a change, a column a model. The stains are taken apart and put together
again by scikit-image (Ruifrok & Johnston 2001), not by what changes them in training.
"""

import argparse
from collections.abc import Callable
from contextlib import closing
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage.color import hed2rgb, rgb2hed
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from benchmarks.record import write_record
from models.datasets import load_tiles
from models.infer import load_classifier
from models.registry import DEFAULT_MODEL
from models.split import read_split

__all__ = ["CHANGES", "main"]

UInt8Array = NDArray[np.uint8]
Change = Callable[[UInt8Array], UInt8Array]

JPEG_QUALITY = 30


def stains(haematoxylin: float, eosin: float) -> Change:
    """Their amounts, times that."""
    return lambda rgb: _to_uint8(hed2rgb(rgb2hed(rgb) * [haematoxylin, eosin, 1]))


def lamp(red: float, green: float, blue: float) -> Change:
    return lambda rgb: _to_uint8(rgb / 255 * [red, green, blue])


def gamma(exponent: float) -> Change:
    return lambda rgb: _to_uint8((rgb / 255) ** exponent)


def blurred(sigma_px: float) -> Change:
    sigma = (0, sigma_px, sigma_px, 0)
    return lambda rgb: np.asarray(gaussian_filter(rgb, sigma, mode="nearest"), np.uint8)


def compressed(rgb: UInt8Array) -> UInt8Array:
    """By JPEG, a tile at a time."""
    changed = []
    for tile in rgb:
        file = BytesIO()
        Image.fromarray(tile).save(file, "JPEG", quality=JPEG_QUALITY)
        changed.append(np.asarray(Image.open(file)))
    return np.stack(changed)


CHANGES: dict[str, Change] = {
    "as they are": lambda rgb: rgb,
    "haematoxylin x 0.7": stains(0.7, 1),
    "haematoxylin x 1.4": stains(1.4, 1),
    "eosin x 0.7": stains(1, 0.7),
    "eosin x 1.4": stains(1, 1.4),
    "both x 0.7": stains(0.7, 0.7),
    "both x 1.4": stains(1.4, 1.4),
    "both x 2": stains(2, 2),
    "warm lamp (blue x 0.85)": lamp(1, 0.95, 0.85),
    "cold lamp (red x 0.85)": lamp(0.85, 0.95, 1),
    "gamma 0.7": gamma(0.7),
    "gamma 1.4": gamma(1.4),
    "blur, sigma 0.7 px": blurred(0.7),
    f"JPEG, quality {JPEG_QUALITY}": compressed,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", action="append", help="several times for several")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    models = options.model or [DEFAULT_MODEL]
    tiles = read_split().take(load_tiles(options.data), "validation", complete=False)
    print(f"{len(tiles)} tiles; AUC (balanced accuracy)\n{'':<26} {' '.join(map(_head, models))}")
    facts = {}
    for name, change in CHANGES.items():
        rgb = change(tiles.rgb)
        facts[name] = {model: _measure(model, rgb, tiles.label) for model in models}
        print(f"{name:<26} {' '.join(map(_cell, facts[name].values()))}", flush=True)
    if options.json:
        named = {name: {Path(m).stem: one[m] for m in models} for name, one in facts.items()}
        write_record(options.json, {"tiles": len(tiles), "changes": named})


def _measure(model: str, rgb: UInt8Array, label: NDArray[np.int64]) -> dict[str, float]:
    with closing(load_classifier(model, precision="float32")) as classifier:
        card, truth = classifier.card, label == classifier.card.positive_index
        prob = classifier.predict(rgb)[:, card.positive_index]
    return {
        "auc": float(roc_auc_score(truth, prob)),
        "balanced_accuracy": float(balanced_accuracy_score(truth, prob >= card.threshold)),
    }


def _head(model: str) -> str:
    return f"{Path(model).stem:>20}"


def _cell(measured: dict[str, float]) -> str:
    return f"{measured['auc']:>12.3f} ({measured['balanced_accuracy']:.3f})"


def _to_uint8(rgb: NDArray[np.floating]) -> UInt8Array:
    return np.asarray(np.clip(np.rint(rgb * 255), 0, 255), np.uint8)


if __name__ == "__main__":
    main()
