"""Complete slides of a labelled set through the main job, for comparison with their labels."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from models.context import CONTEXT
from models.datasets import TILE_PX, Pictures, TileSet
from models.datasets.mosaics import patient_mosaic, write_patient_slide
from models.errors import DatasetError
from models.evaluation.selection import is_complete
from models.evaluation.slides import ScoredSlide
from models.registry import resolve_model
from service.pipeline import run_request
from service.request import HeatmapRequest
from wsi.export import ome_zarr

__all__ = ["complete_patients", "score_patient", "score_patients"]


def complete_patients(pictures: Pictures) -> list[str]:
    """Those whose slide can be put together. Raises DatasetError where there is none."""
    patients = pictures.select(is_complete(pictures)).patients
    if not pictures.is_idc or not patients:
        raise DatasetError(
            f"no patient of {pictures.folder} that was asked for is known to be complete, so no "
            "slide can be put together; leave out --slides, or ask for another part"
        )
    return patients


def score_patients(
    tiles: TileSet,
    patients: Sequence[str],
    model: str,
    *,
    device: str = "auto",
    trust_code: bool = False,
    tta: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> list[ScoredSlide]:
    """Each complete patient put together as a slide and run as `wsi heatmap` runs it, tissue mask
    included; nothing of it is kept on disk. Raises WsiError, ModelError.
    """
    found = []
    for patient in patients:
        with tempfile.TemporaryDirectory(prefix="wsi-slide-") as folder:
            found.append(
                score_patient(
                    tiles,
                    patient,
                    model,
                    Path(folder),
                    device=device,
                    trust_code=trust_code,
                    tta=tta,
                )
            )
        if progress is not None:
            progress(len(found), len(patients))
    return found


def score_patient(
    tiles: TileSet,
    patient: str,
    model: str,
    folder: Path,
    *,
    device: str = "auto",
    trust_code: bool = False,
    tta: bool = False,
) -> ScoredSlide:
    """folder: for the slide and its result. Raises DatasetError, WsiError, ModelError."""
    slide = folder / "slide.tiff"
    write_patient_slide(patient_mosaic(tiles, patient), slide)
    request = HeatmapRequest(
        slide=str(slide),
        model=model,
        device=device,
        trust_code=trust_code,
        tta=tta,
        formats=("ome-zarr",),
    )
    result = run_request(request, folder / "out")
    heatmap = ome_zarr.read(result.folder / "heatmap.zarr")
    own = tiles.of_patients([patient])
    column, row = ((own.xy - 1) // TILE_PX).T
    truth = np.full(heatmap.positive.shape, np.nan, np.float32)
    truth[row, column] = own.label
    stage = resolve_model(model)[0].context
    return ScoredSlide(
        patient,
        truth,
        heatmap.positive,
        heatmap.threshold,
        heatmap.channels.get(CONTEXT),
        stage.threshold if stage else None,
    )
