"""Slides below a shared folder are often called as a patient is: no answer and no log says it."""

import logging
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.service.api.harness import Api, Workshop

NAME = "Doe, John 1953-02-01"


def write_damaged(path: Path) -> None:
    """A tiled TIFF whose header is sound and whose tiles are none."""
    pixels = np.random.default_rng(1).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    tifffile.imwrite(path, pixels, tile=(128, 128), photometric="rgb", compression="jpeg")
    with tifffile.TiffFile(path) as file:
        spans = list(zip(file.pages[0].dataoffsets, file.pages[0].databytecounts, strict=True))
    with path.open("r+b") as file:
        for offset, size in spans:
            file.seek(offset)
            file.write(b"\x00" * size)


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    folder = tmp_path / "Doe, Jane"
    folder.mkdir()
    write_damaged(folder / f"{NAME}.tiff")
    return folder


def test_a_damaged_slide_is_refused_without_its_name(
    workshop: Workshop, tmp_path: Path, shared: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with Api(workshop, tmp_path / "data", slide_roots=(shared,)) as api:
        added = api.post("/v1/slides", json={"path": f"{NAME}.tiff"})
        assert added.status_code == 201
        base = f"/v1/slides/{added.json()['id']}"
        caplog.clear()
        damaged = [
            api.get(f"{base}/{name}") for name in ("thumbnail.jpg", "slide_files/8/0_0.jpeg")
        ]
        (shared / f"{NAME}.tiff").unlink()
        gone = api.get(f"{base}/thumbnail.jpg?max=10")
    assert [each.json()["type"] for each in damaged] == ["/problems/corrupt-slide"] * 2
    assert damaged[0].json()["detail"].startswith("the slide: ")
    for text in (added.text, *(each.text for each in damaged), gone.text, caplog.text):
        assert not re.search("Doe|John|Jane|1953", text), text
