"""One change of the default recipe at a time: python -m benchmarks.variants FOLDER RUNS [NAME …]

FOLDER: IDC tiles. Each variant is trained on the training patients into RUNS (one that is there
is not trained again, one that was stopped goes on); what came of all of them on the validation
patients is a table: python -m benchmarks.recipes RUNS FOLDER --part validation

The schedule is shorter than the recipe's: variants are for comparing with each other. `seed-1` and
`seed-2` change nothing but the seed: differences of their size mean nothing. Those called `full`
have the recipe's schedule. `taught` and `full-taught` learn from others of them, which
have to be trained by then.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from models.recipe import TrainConfig, parse_changes, read_recipe
from models.registry import DEFAULT_MODEL
from models.train import train

SHORT = ("phases=[[14, 40], [4, 48]]", "decay_epochs=12", "bootstrap_rounds=200")
NO_STAIN = ("augment.stain_scale=0.0", "augment.stain_shift=0.0")
NO_COLOUR = (*NO_STAIN, "augment.brightness=0.0", "augment.contrast=0.0", "augment.blur=0.0")
WEAK = (
    "augment.stain_scale=0.05",
    "augment.stain_shift=0.005",
    "augment.brightness=0.01",
    "augment.contrast=0.03",
    "augment.blur=0.3",
)
HALF = ("augment.colours=0.5",)
STRONG = (
    "augment.stain_scale=0.35",
    "augment.stain_shift=0.05",
    "augment.brightness=0.06",
    "augment.contrast=0.15",
)
FULL = ("phases=[[28, 40], [14, 48], [3, 50]]", "decay_epochs=27")
ADAMW = ("optimizer=adamw", "learning_rate=1e-3", "weight_decay=0.05")

VARIANTS: dict[str, tuple[str, ...]] = {
    "short": (),
    "seed-1": ("seed=1",),
    "seed-2": ("seed=2",),
    "no-stain": NO_STAIN,
    "no-colour": NO_COLOUR,
    "weak-colour": WEAK,
    "symmetries": (*NO_COLOUR, "augment.warp=0.0", "augment.white=0.0", "augment.blank=0.0"),
    "half-strong": (*HALF, *STRONG),
    "strong-stain": ("augment.stain_scale=0.4", "augment.stain_shift=0.05"),
    "no-ema": ("ema=0.0",),
    "no-mixup": ("mixup=0.0", "label_smoothing=0.0"),
    "adamw": ADAMW,
    "pretrained": (
        "start=imagenet",
        "without_imagenet=pretrain",
        "pretrain.epochs=12",
        "pretrain.crop_px=40",
        "pretrain.batch_size=128",
        "pretrain.learning_rate=0.05",
    ),
    "stem1": ("architecture=resnet18-stem1",),
    "resnet34": ("architecture=resnet34",),
    "convnext": ("architecture=convnext_pico", *ADAMW),
    "taught": (*HALF, "teach.teachers=['full-no-colour', 'full-half-colour']", "teach.share=0.7"),
    "full-taught": (
        *FULL,
        "teach.teachers=['full-no-colour', 'full-half-colour']",
        "teach.share=0.7",
        "teach.true_colours=true",
    ),
    "full-no-colour": (*FULL, *NO_COLOUR),
    "full-half-colour": (*FULL, *HALF),
    "full-half-colour-1": (*FULL, *HALF, "seed=1"),
    "long": ("phases=[[56, 40], [28, 48], [6, 50]]", "decay_epochs=54"),
}
"""Name → what is set in the recipe, as `wsi train --set` takes it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("names", nargs="*", default=list(VARIANTS), metavar="NAME")
    options = parser.parse_args()
    if unknown := set(options.names) - set(VARIANTS):
        parser.error(f"no variant {', '.join(sorted(unknown))}; there are {', '.join(VARIANTS)}")
    for name in options.names:
        out = options.runs / name
        if (out / f"{name}.json").is_file():
            continue
        print(f"{name}: {', '.join(VARIANTS[name]) or 'as it is'}", flush=True)
        train(
            make_variant(name),
            options.data,
            out,
            imagenet=options.runs / "no-imagenet",
            stores=options.runs / "decoded",
            on_progress=lambda progress: print(f"  {progress}", flush=True),
        )


def make_variant(name: str) -> TrainConfig:
    changes = parse_changes((*SHORT, *VARIANTS[name]))
    return replace(read_recipe(DEFAULT_MODEL, changes), name=name)


if __name__ == "__main__":
    main()
