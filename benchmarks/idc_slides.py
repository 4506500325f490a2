"""Complete slides of the IDC data set through the main job, against their labels.

    python -m benchmarks.idc_slides DATA [--part validation] [--model M] [--picture FILE.png]

Each complete patient of that part of the split is put together again as a slide, run as `wsi
heatmap` runs it, and the score of every tile compared with its label: AUC a slide, and how many
labelled tiles the tissue mask leaves out. The picture shows truth beside heatmap, no tissue.
"""

import argparse
from pathlib import Path

from models.datasets import load_tiles
from models.evaluation.curves import draw_slides
from models.evaluation.slides import evaluate_context, evaluate_slides
from models.registry import DEFAULT_MODEL
from models.split import read_split
from service.evaluation import score_patients

__all__ = ["main"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--part", default="validation", choices=["validation", "test"])
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    patients = read_split().patients(options.part, complete=True)
    slides = score_patients(load_tiles(options.data), patients, options.model)
    for found in (evaluate_slides(options.model, slides), evaluate_context(options.model, slides)):
        print(found.to_text() if found else "no context stage", end="\n\n")
    if options.picture:
        options.picture.parent.mkdir(parents=True, exist_ok=True)
        options.picture.write_bytes(draw_slides(slides))


if __name__ == "__main__":
    main()
