"""What a package drags in, seen from a fresh interpreter."""

import subprocess
import sys

import pytest

TORCH = {"torch", "torchvision"}
WEB = {"fastapi", "starlette", "uvicorn", "typer", "distributed"}
HEAVY = {"numpy", "scipy", "zarr", "skimage", "cv2", "matplotlib", "tifffile", "openslide", "h5py"}

WSI_MODULES = (
    "wsi.readers, wsi.mask, wsi.user_mask, wsi.grid, wsi.store, wsi.tiler, wsi.heatmap, "
    "wsi.regions, wsi.render, wsi.export, wsi.phantom, wsi.mosaic"
)


def imported_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        ("import wsi, models, service", TORCH | WEB | HEAVY),
        (f"import {WSI_MODULES}", TORCH | WEB),
        ("import models.card, models.registry, models.errors, models.infer", TORCH | WEB),
        ("import models.networks.resnet, models.train, models.evaluate, models.network", WEB),
        ("import service.cli", TORCH | HEAVY),
        ("import service.pipeline", TORCH | WEB),
    ],
)
def test_import_drags_in_nothing_of_another_layer(statement: str, forbidden: set[str]) -> None:
    assert imported_by(statement) & forbidden == set()
