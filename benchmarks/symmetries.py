"""What the symmetries of tiles are worth: python -m benchmarks.symmetries FOLDER

FOLDER: IDC tiles. On the validation part: how often the model is wrong where they disagree, and
whether that says more than the probability alone.
"""

import argparse
from contextlib import closing
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from models.datasets import TileSet, load_tiles
from models.infer import Classifier, load_classifier
from models.registry import DEFAULT_MODEL
from models.scorer import Scorer
from models.split import read_split

STEP = 1024  # tiles
LIMITS = (0.025, 0.05, 0.075, 0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    options = parser.parse_args()
    tiles = load_tiles(options.data)
    with closing(load_classifier(options.model, precision="float32")) as classifier:
        for complete, name in ((False, "sampled patients"), (True, "complete slides")):
            part = read_split().take(tiles, "validation", complete=complete)
            tell(name, part, classifier)


def tell(name: str, tiles: TileSet, classifier: Classifier) -> None:
    card, scorer = classifier.card, Scorer(classifier, tta=True)
    rows = np.concatenate(
        [scorer.predict(tiles.rgb[i : i + STEP]) for i in range(0, len(tiles), STEP)]
    )
    prob, doubt = rows[:, card.positive_index], rows[:, -1]
    wrong = (prob >= card.threshold) != (tiles.label == card.positive_index)
    print(f"{name}: {len(tiles)} tiles, {wrong.mean():.1%} wrong")
    print("  uncertainty above   share of tiles   wrong there   wrong elsewhere")
    for limit in LIMITS:
        above = doubt > limit
        print(
            f"  {limit:>17} {above.mean():>16.1%} {wrong[above].mean():>13.1%} "
            f"{wrong[~above].mean():>17.1%}"
        )
    by_doubt, by_prob = (roc_auc_score(wrong, x) for x in (doubt, prob * (1 - prob)))
    print(f"  AUC of being wrong: uncertainty {by_doubt:.3f}, p (1 - p) {by_prob:.3f}\n")


if __name__ == "__main__":
    main()
