"""Complete slides of the IDC data set through the main job, against their labels.

    python -m benchmarks.idc_slides DATA [--part validation] [--model M] [--picture FILE.png]

Each complete patient of that part of the split is put together again as a slide, run as `wsi
heatmap` runs it, and the score of every tile compared with its label: AUC a slide, and how many
labelled tiles the tissue mask leaves out. The picture shows truth beside heatmap, no tissue.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.datasets import TileSet, load_tiles
from models.mosaics import patient_mosaic, write_patient_slide
from models.registry import DEFAULT_MODEL
from models.split import IDC_SPLIT, read_split
from service.pipeline import run_request
from service.request import HeatmapRequest
from wsi.export import ome_zarr

__all__ = ["SlideScores", "main", "score_patient"]

TILE_PX = 50


@dataclass(frozen=True)
class SlideScores:
    patient: str
    labelled: int  # tiles with a label
    label: NDArray[np.int64]  # of those that were scored
    prob: NDArray[np.float32]
    truth: NDArray[np.float32]  # (rows, columns): 0, 1, NaN without a tile
    heatmap: NDArray[np.float32]  # (rows, columns), NaN where nothing was scored
    threshold: float

    @property
    def auc(self) -> float:
        from sklearn.metrics import roc_auc_score

        return float(roc_auc_score(self.label, self.prob))


def score_patient(tiles: TileSet, patient: str, model: str, folder: Path) -> SlideScores:
    slide = folder / f"{patient}.tiff"
    write_patient_slide(patient_mosaic(tiles, patient), slide)
    result = run_request(HeatmapRequest(slide=str(slide), model=model), folder / "out")
    heatmap = ome_zarr.read(result.folder / "heatmap.zarr")
    own = tiles.of_patients([patient])
    column, row = ((own.xy - 1) // TILE_PX).T
    prob = heatmap.positive[row, column]
    truth = np.full(heatmap.positive.shape, np.nan, np.float32)
    truth[row, column] = own.label
    scored = np.isfinite(prob)
    return SlideScores(
        patient, len(own), own.label[scored], prob[scored], truth, heatmap.positive,
        heatmap.threshold,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--part", default="validation", choices=["validation", "test"])
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    tiles = load_tiles(options.data)
    rows = read_split(IDC_SPLIT).rows
    patients = [r.patient for r in rows if r.part == options.part and r.complete]
    print("| slide | labelled tiles | scored | IDC | AUC |\n|---|---|---|---|---|")
    slides = []
    for patient in patients:
        with tempfile.TemporaryDirectory() as folder:
            slide = score_patient(tiles, patient, options.model, Path(folder))
        slides.append(slide)
        print(
            f"| {patient} | {slide.labelled} | {len(slide.label)} | {slide.label.sum()} "
            f"| {slide.auc:.4f} |",
            flush=True,
        )
    print(f"| mean | | | | {np.mean([slide.auc for slide in slides]):.4f} |")
    if options.picture:
        draw(slides, options.picture)


def draw(slides: list[SlideScores], path: Path) -> None:
    """Truth above, heatmap below, a column a slide."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        2, len(slides), figsize=(2.4 * len(slides) + 1, 5.2), squeeze=False, layout="constrained"
    )
    for column, slide in enumerate(slides):
        shown: Any = axes[0][column].imshow(slide.truth, vmin=0, vmax=1, cmap="viridis")
        axes[1][column].imshow(slide.heatmap, vmin=0, vmax=1, cmap="viridis")
        axes[0][column].set_title(f"slide {slide.patient}\nAUC {slide.auc:.3f}", fontsize=10)
        for axis in axes[:, column]:
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_facecolor("0.92")
    axes[0][0].set_ylabel("labels")
    axes[1][0].set_ylabel("probability of IDC")
    figure.colorbar(shown, ax=axes, shrink=0.8, pad=0.01)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
