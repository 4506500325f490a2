"""Slides with regions that somebody drew on them: which there are, and whether all are sound."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from models.datasets.annotations import Annotations, read_annotations
from models.errors import DatasetError
from service.patch_request import PatchRequest
from service.worker.naming import SUFFIXES
from wsi.errors import MissingResolution, WsiError
from wsi.geometry import Mpp
from wsi.grid import TileGrid
from wsi.readers import open_slide
from wsi.slide import SlideInfo
from wsi.tiler import plan_tiles

__all__ = ["AnnotatedSlide", "find_annotated", "read_annotated"]

One = TypeVar("One")
Found = TypeVar("Found")
FOLDERS = ("ICIAR2018_BACH_Challenge/WSI", "WSI", ".")
WHOLE_SLIDES = SUFFIXES - {".jpeg", ".jpg", ".png"}  # these are thumbnails
MPP_TOLERANCE = 0.05  # of the slide's: more is another scan, on which the outlines lie elsewhere


@dataclass(frozen=True)
class AnnotatedSlide:
    """name: of both files, without their ending."""

    name: str
    slide: Path
    drawn: Path


def find_annotated(folder: Path) -> tuple[list[AnnotatedSlide], list[str]]:
    """The slides that have an XML file of the same name beside them, and the names of the others.

    folder: with the files in it, or as downloaded. Raises DatasetError.
    """
    inside = next((folder / name for name in FOLDERS if (folder / name).is_dir()), None)
    if inside is None:
        raise DatasetError(f"{folder} is not a folder; name the one that holds the slides")
    files = sorted(path for path in inside.iterdir() if not path.name.startswith("."))
    slides: dict[str, list[Path]] = {}
    for path in files:
        if path.suffix.lower() in WHOLE_SLIDES:
            slides.setdefault(path.stem, []).append(path)
    drawn = [path for path in files if path.suffix.lower() == ".xml"]
    if not drawn:
        raise DatasetError(f"{inside} holds no annotations; put A01.xml beside A01.svs")
    found = _gather(drawn, lambda path: _paired(path, slides.get(path.stem, [])))
    return found, sorted(set(slides) - {path.stem for path in drawn})


def read_annotated(slides: Sequence[AnnotatedSlide], asked: PatchRequest) -> list[Annotations]:
    """Of each slide, after a look at its header. DatasetError says all that is wrong."""
    return _gather(slides, lambda one: _read(one, asked))


def _paired(drawn: Path, slides: list[Path]) -> AnnotatedSlide:
    if len(slides) != 1:
        names = ", ".join(path.name for path in slides) or "no slide"
        raise DatasetError(
            f"{drawn}: {names} of that name beside it; it needs one, such as {drawn.stem}.svs"
        )
    return AnnotatedSlide(drawn.stem, slides[0], drawn)


def _read(one: AnnotatedSlide, asked: PatchRequest) -> Annotations:
    with open_slide(one.slide, asked.slide_mpp, asked.reader) as slide:
        info = slide.info
    annotations = read_annotations(one.drawn, info.size, mend=asked.mend)
    slide_mpp = _require_mpp(info, annotations.mpp, one)
    if asked.slide_mpp is None:
        _require_same_mpp(slide_mpp, annotations.mpp, one)
    grid = TileGrid.over(info.size, slide_mpp, tile_px=asked.patch_px, mpp=asked.mpp)
    plan_tiles(info, grid, np.empty((0, 2), np.int32), allow_upsampling=asked.upsample)
    return annotations


def _require_mpp(info: SlideInfo, stated: float | None, one: AnnotatedSlide) -> Mpp:
    if info.mpp is not None:
        return info.mpp
    hint = f" ({one.drawn.name} says {stated:g})" if stated else ""
    raise MissingResolution(
        f"{one.slide}: the file does not state its resolution{hint}; pass it in um/px, for example "
        f"--slide-mpp {stated or 0.467:g}"
    )


def _require_same_mpp(slide_mpp: Mpp, stated: float | None, one: AnnotatedSlide) -> None:
    if stated and any(abs(stated - mpp) > MPP_TOLERANCE * mpp for mpp in slide_mpp):
        raise DatasetError(
            f"{one.drawn} was drawn at {stated:g} um/px, but {one.slide.name} has {slide_mpp.x:g}; "
            "it may be of another scan: compare them, and pass --slide-mpp with what is right"
        )


def _gather(items: Sequence[One], work: Callable[[One], Found]) -> list[Found]:
    """Raises DatasetError that has all sentences, each once."""
    found, wrong = [], []
    for item in items:
        try:
            found.append(work(item))
        except (DatasetError, WsiError) as error:
            wrong.append(str(error))
    if wrong:
        raise DatasetError("\n".join(dict.fromkeys(wrong)))
    return found
