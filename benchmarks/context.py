"""Forms of the context stage, on the complete slides that are nobody's test.

    python -m benchmarks.context DATA [--model M]

The slides of training and validation are dealt into four parts; each is ranked by a stage that was
fitted on the three others. Printed: the mean of the slides' AUC.
"""

import argparse
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from models.datasets import load_tiles
from models.infer import load_classifier
from models.metrics import rank_figures
from models.registry import DEFAULT_MODEL
from models.split import read_split
from models.training.context import (
    ContextConfig,
    SlideScores,
    fit_context,
    measure_slides,
    score_slides,
)

__all__ = ["main"]

PARTS = ("train", "validation")
FOLDS = 4
CHOSEN = ContextConfig()
FORMS = {
    "as it ships": CHOSEN,
    "means alone": replace(CHOSEN, radii=()),
    "one mean alone, sigma 1.25": replace(CHOSEN, sigmas=(1.25,), radii=()),
    "largest and smallest alone": replace(CHOSEN, sigmas=()),
    "six means, sigma 0.6 to 8": replace(CHOSEN, sigmas=(0.6, 1.0, 1.6, 2.5, 4.0, 8.0)),
    "squares up to radius 3": replace(CHOSEN, radii=(1, 2, 3)),
    "no simulated gaps": replace(CHOSEN, masks=0),
    "a tenth of the penalty": replace(CHOSEN, strength=1.0),
    "ten times the penalty": replace(CHOSEN, strength=100.0),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    options = parser.parse_args()
    tiles, split = load_tiles(options.data), read_split()
    with closing(load_classifier(options.model, precision="float32")) as classifier:
        slides = {
            part: list(score_slides(classifier, split.take(tiles, part, complete=True)))
            for part in PARTS
        }
    everything = [slide for part in PARTS for slide in slides[part]]
    raw = {one.patient: rank_figures(one.labels == 1, one.logit[one.mask])[0] for one in everything}
    _tell("the network alone", raw, slides)
    for name, config in FORMS.items():
        _tell(name, _cross_validate(everything, config), slides)
    alone = fit_context(slides["train"], slides["validation"], CHOSEN)
    print(f"fitted on train, on validation: {measure_slides(alone, slides['validation'])}")


def _cross_validate(slides: Sequence[SlideScores], config: ContextConfig) -> dict[str, float]:
    """AUC by slide, each from the slides of the other parts."""
    order = np.random.default_rng(1).permutation(len(slides))
    found: dict[str, float] = {}
    for fold in range(FOLDS):
        out = {int(i) for i in order[fold::FOLDS]}
        held = [slide for i, slide in enumerate(slides) if i in out]
        context = fit_context([s for i, s in enumerate(slides) if i not in out], held, config)
        measured = measure_slides(context, held)["slides"]
        found |= {patient: one["auc"] for patient, one in measured.items()}
    return found


def _tell(name: str, auc: dict[str, float], slides: dict[str, list[SlideScores]]) -> None:
    means = [np.mean([auc[one.patient] for one in slides[part]]) for part in PARTS]
    every = np.mean(list(auc.values()))
    print(f"{name:<28} {every:.4f}  train {means[0]:.4f}  validation {means[1]:.4f}", flush=True)


if __name__ == "__main__":
    main()
