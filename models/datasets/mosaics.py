"""A patient of the IDC data set as a slide, with its truth."""

from __future__ import annotations

from pathlib import Path

from models.datasets import TILE_MPP, TileSet
from models.errors import DatasetError
from wsi.geometry import Mpp, Size
from wsi.mosaic import LabelledTile, Mosaic, assemble_mosaic, cut_padding
from wsi.pyramid_tiff import write_pyramid

__all__ = ["patient_mosaic", "write_patient_slide"]


def patient_mosaic(tiles: TileSet, patient: str) -> Mosaic:
    """All tiles of a patient in their places. Raises DatasetError where there are none."""
    own = tiles.of_patients([patient])
    if not len(own):
        raise DatasetError(
            f"patient {patient!r} has no tiles; there are {', '.join(tiles.patients)}"
        )
    return assemble_mosaic(
        LabelledTile(cut_padding(rgb), int(x), int(y), int(label))
        for rgb, (x, y), label in zip(own.rgb, own.xy, own.label, strict=True)
    )


def write_patient_slide(mosaic: Mosaic, out: Path, *, overwrite: bool = False) -> None:
    """A pyramidal TIFF at 4 um/px, lossless: a second JPEG would change the scores."""
    height, width = mosaic.label.shape
    write_pyramid(
        out,
        Size(width, height),
        lambda box: mosaic.rgb[box.y : box.bottom, box.x : box.right],
        mpp=Mpp(TILE_MPP, TILE_MPP),
        quality=None,
        overwrite=overwrite,
    )
