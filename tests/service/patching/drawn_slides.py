"""Slides that were drawn on, as BACH has them."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from service.patch_request import PatchRequest
from tests.models.annotated import (
    make_tissue,
    rectangle,
    region_xml,
    write_drawn,
    write_slide,
)

PX = 64
REQUEST = PatchRequest(patch_px=PX, mask="none", min_tissue=0)
WIDTH, HEIGHT = 640, 448  # 10 x 7 patches
DRAWN = {
    "Benign": rectangle(0, 0, 200, 128),
    "Carcinoma in situ": [(300, 20), (560, 40), (520, 230), (330, 200)],
    "Carcinoma invasive": [(40, 220), (230, 200), (250, 420), (20, 430)],
}
FOLDER = {"Benign": "Benign", "Carcinoma in situ": "InSitu", "Carcinoma invasive": "Invasive"}


def write_annotated(folder: Path, name: str = "A01", *, seed: int = 1, **options: Any) -> Path:
    folder.mkdir(exist_ok=True)
    glass_from = options.pop("glass_from", None)
    write_slide(folder / f"{name}.svs", make_tissue(WIDTH, HEIGHT, seed, glass_from), **options)
    regions = [region_xml(outline, label) for label, outline in DRAWN.items()]
    write_drawn(folder / f"{name}.xml", regions)
    return folder


def rows_of(out: Path) -> Iterator[dict[str, str]]:
    for table in sorted((out / "Photos").glob("*.csv")):
        with table.open(newline="") as file:
            yield from csv.DictReader(file)
