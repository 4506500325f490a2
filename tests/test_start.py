"""What a command imports before it does its work, seen from a fresh interpreter."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.service.painted import write_model
from tests.wsi.readers.tiffs import make_pixels, write_pyramid, write_tiff

HEAVY = {
    "torch", "torchvision", "zarr", "dask", "distributed", "scipy", "skimage", "matplotlib",
    "sklearn", "cv2", "h5py", "tiffslide", "tifffile", "imagecodecs", "fsspec", "aiohttp", "httpx",
    "fastapi", "sqlalchemy",
}  # fmt: skip
RUN = """
import sys
from service.cli import app
try:
    app(sys.argv[1:])
except SystemExit as left:
    assert not left.code, left.code
print("imported", *{name.partition(".")[0] for name in sys.modules})
"""


def imported_by(*arguments: str) -> set[str]:
    command = [sys.executable, "-c", RUN, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_help_imports_nothing_heavy_and_no_numpy() -> None:
    assert imported_by("--help") & {*HEAVY, "numpy", "openslide", "PIL"} == set()


@pytest.mark.parametrize("name", ["pyramid.tiff", "slide.svs", "untiled.tif"])
def test_what_a_slide_is_takes_nothing_heavy(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "pyramid.tiff":
        write_pyramid(path, [(400, 300), (200, 150)])
    elif name == "slide.svs":
        description = "Aperio Image Library v11\r\n300x200 [0,0 300x200] (64x64)|MPP = 0.5"
        write_tiff(path, make_pixels(300, 200), description=description)
    else:
        write_tiff(path, make_pixels(300, 200), tile=None)
    assert imported_by("info", str(path), "--mpp", "0.5") & HEAVY == set()


def test_a_heatmap_takes_no_training_no_cluster_and_no_web(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", 16, 0.5)
    write_pyramid(tmp_path / "slide.tiff", [(400, 300), (200, 150)])
    given = ["--model", model, "--mask", "none", "--out", str(tmp_path / "out"), "--quiet"]
    imported = imported_by("heatmap", str(tmp_path / "slide.tiff"), *given)
    assert imported & {"torch", "sklearn", "dask", "fastapi", "sqlalchemy", "httpx"} == set()
