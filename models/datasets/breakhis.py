"""BreakHis: 7,909 pictures of 700 x 460 px of 82 slides at four magnifications.

`BreaKHis_v1/histology_slides/breast/<benign|malignant>/SOB/<type>/<slide>/<magnification>/*.png`,
or all files in one folder: the name says everything,
`SOB_<B|M>_<type>-<year>-<slide>-<magnification>-<number>.png`.
Spanhol et al. 2016, doi 10.1109/TBME.2015.2496264.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from models.datasets.items import NAMED_FAILURES, Item, Pictures
from models.errors import DatasetError

__all__ = ["SUBTYPES", "by_subtype", "is_breakhis", "list_breakhis"]

TREES = ("BreaKHis_v1/histology_slides/breast", "histology_slides/breast", "breast", ".")
CLASSES = ("benign", "malignant")
SUBTYPES = {
    "A": "adenosis",
    "F": "fibroadenoma",
    "PT": "phyllodes_tumor",
    "TA": "tubular_adenoma",
    "DC": "ductal_carcinoma",
    "LC": "lobular_carcinoma",
    "MC": "mucinous_carcinoma",
    "PC": "papillary_carcinoma",
}
MPP = {40: 0.49, 100: 0.20, 200: 0.10, 400: 0.05}
"""By total magnification: camera pixels of 6.5 um behind a 3.3x relay lens and the objective of a
tenth of it, rounded as the paper does."""
NAME = re.compile(
    r"SOB_(?P<side>[BM])_(?P<type>[A-Z]{1,2})-(?P<year>\d+)-(?P<case>\d+)(?P<block>[A-Z]*)"
    r"-(?P<magnification>40|100|200|400)-(?P<number>\d+)\.png"
)


def is_breakhis(folder: Path) -> bool:
    return next(_paths(folder), None) is not None


def list_breakhis(folder: Path) -> Pictures:
    """Benign or malignant. Raises DatasetError where there is none, or a name is not understood.

    The letters behind a slide's number name blocks of one case (22549AB, 22549CD), and one case is
    in the set with two types (13412): the patient is year and number without them.
    """
    paths = sorted(_paths(folder))
    if not paths:
        raise DatasetError(
            f"{folder} holds no picture SOB_<B|M>_<type>-<year>-<slide>-<magnification>-<n>.png; "
            "name the folder that BreaKHis_v1.tar.gz was unpacked in"
        )
    strange = [path.name for path in paths if not _is_understood(path)]
    if strange:
        raise DatasetError(
            f"{len(strange)} names in {folder} are not understood: "
            f"{', '.join(strange[:NAMED_FAILURES])}; types are {', '.join(SUBTYPES)}, "
            "magnifications 40, 100, 200 and 400"
        )
    items = tuple(_item(folder, path) for path in paths)
    return Pictures(folder, "breakhis", items, CLASSES)


def by_subtype(pictures: Pictures) -> Pictures:
    """The same pictures in eight classes."""
    classes = tuple(SUBTYPES.values())
    if any(item.subtype not in classes for item in pictures.items):
        raise DatasetError(f"the layout {pictures.layout!r} has no subtypes; use breakhis")
    items = [replace(item, label=classes.index(item.subtype or "")) for item in pictures.items]
    return replace(pictures, items=tuple(items), classes=classes)


def _paths(folder: Path) -> Iterator[Path]:
    root = next((folder / tree for tree in TREES if (folder / tree).is_dir()), folder)
    pattern = "SOB_*.png" if root == folder / "." else "**/SOB_*.png"
    return root.glob(pattern)


def _is_understood(path: Path) -> bool:
    match = NAME.fullmatch(path.name)
    return match is not None and match["type"] in SUBTYPES


def _item(folder: Path, path: Path) -> Item:
    match = NAME.fullmatch(path.name)
    assert match  # _is_understood
    magnification = int(match["magnification"])
    return Item(
        where=str(path.relative_to(folder)),
        path=path,
        label="BM".index(match["side"]),
        patient=f"{match['year']}-{match['case']}",
        subtype=SUBTYPES[match["type"]],
        slide=f"{match['year']}-{match['case']}{match['block']}",
        magnification=magnification,
        mpp=MPP[magnification],
    )
