"""Complete slides of the IDC data set through the main job, against their labels.

    python -m benchmarks.idc_slides DATA [--part validation] [--model M] [--picture FILE.png]
        [--context-picture FILE.png]

Each complete patient of that part of the split is put together again as a slide, run as `wsi
heatmap` runs it, and the score of every tile compared with its label: AUC a slide, and how many
labelled tiles the tissue mask leaves out; then the same of the context stage. The pictures show
truth beside heatmap, no tissue.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from models.datasets import load_tiles
from models.evaluation.curves import draw_slides
from models.evaluation.slides import ScoredSlide, evaluate_context, evaluate_slides
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
    parser.add_argument("--context-picture", type=Path)
    options = parser.parse_args()
    patients = read_split().patients(options.part, complete=True)
    slides = score_patients(load_tiles(options.data), patients, options.model)
    for found in (evaluate_slides(options.model, slides), evaluate_context(options.model, slides)):
        print(found.to_text() if found else "no context stage", end="\n\n")
    _draw(slides, options.picture)
    _draw([one for slide in slides if (one := slide.by_context)], options.context_picture)


def _draw(slides: Sequence[ScoredSlide], file: Path | None) -> None:
    if file and slides:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(draw_slides(slides))


if __name__ == "__main__":
    main()
