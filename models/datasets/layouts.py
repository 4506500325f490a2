"""The layouts in which labelled sets are downloaded, and which of them a folder has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from models.datasets.bach import is_bach, list_bach
from models.datasets.breakhis import by_subtype, is_breakhis, list_breakhis
from models.datasets.idc import is_idc, is_two_folders, list_idc, list_two_folders
from models.datasets.items import Pictures
from models.errors import DatasetError

__all__ = ["LAYOUTS", "Layout", "open_data"]


class Layout(NamedTuple):
    is_there: Callable[[Path], bool]
    list_pictures: Callable[[Path], Pictures]
    expected: str  # for who named a folder that has none


LAYOUTS: Mapping[str, Layout] = {
    "idc": Layout(is_idc, list_idc, "<patient>/<0|1>/*.png, or tiles.csv and its sheets"),
    "two-folders": Layout(is_two_folders, list_two_folders, "cancer/ and not_cancer/"),
    "bach": Layout(is_bach, list_bach, "Photos/{Normal,Benign,InSitu,Invasive}/*.tif"),
    "breakhis": Layout(is_breakhis, list_breakhis, "SOB_*.png, in BreaKHis_v1/ or flat"),
}
"""Asked in this order where nobody says which."""


def open_data(
    folder: Path,
    layout: str | None = None,
    *,
    magnification: int | None = None,
    subtypes: bool = False,
) -> Pictures:
    """The labelled set in a folder; names and tables are read, no pixels.

    layout: a name of LAYOUTS; None looks. magnification: only the pictures of this one (breakhis).
    subtypes: they are the classes (breakhis). Raises DatasetError.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder; name the one that holds the patients")
    pictures = _layout(folder, layout).list_pictures(folder)
    if subtypes:
        pictures = by_subtype(pictures)
    return pictures if magnification is None else pictures.at_magnification(magnification)


def _layout(folder: Path, name: str | None) -> Layout:
    if name is not None:
        if name not in LAYOUTS:
            raise DatasetError(f"no layout {name!r}; use {', '.join(LAYOUTS)}")
        return LAYOUTS[name]
    found = next((layout for layout in LAYOUTS.values() if layout.is_there(folder)), None)
    if found is None:
        known = "; ".join(f"{name}: {layout.expected}" for name, layout in LAYOUTS.items())
        raise DatasetError(
            f"{folder} holds no labelled pictures in a layout that is known: {known}"
        )
    return found
