"""Readers: each makes a Slide of one family of files. `open_slide` picks one.

To add a reader, write an opener `(Source, Mpp | None) -> Slide`, name it in READERS, and prove it
by inheriting `ReaderContract` of the tests.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from wsi.errors import InvalidOption
from wsi.geometry import Mpp
from wsi.slide import Slide

if TYPE_CHECKING:
    from wsi.readers.gate import Source

__all__ = ["READERS", "open_slide", "open_source"]

READERS = {
    "tiff": "wsi.readers.tiff:open_tiff",
    "openslide": "wsi.readers.openslide:open_openslide",
    "tiffslide": "wsi.readers.tiffslide:open_tiffslide",
    "image": "wsi.readers.image:open_image",
}
"""Name to "module:opener"; an opener is `(Source, Mpp | None) -> Slide`."""


def open_slide(
    path: str | Path,
    mpp: float | tuple[float, float] | None = None,
    reader: str = "auto",
    *,
    apply_icc: bool = False,
) -> Slide:
    """Open a slide: a file, a folder with one DICOM series, or a URL (https://, s3://).

    `mpp` is the resolution of level 0 in um/px, one number or (x, y); it counts more than the
    file's own. `apply_icc` turns colours into sRGB where the file has a profile.

    Raises SlideNotFound, UnsupportedSlide, CorruptSlide, SlideTooLarge or InvalidOption.
    """
    from wsi.readers.gate import check_header
    from wsi.readers.resolution import mpp_from_caller

    _require_reader(reader)
    caller_mpp = mpp_from_caller(mpp)
    return open_source(check_header(str(path)), caller_mpp, reader, apply_icc=apply_icc)


def open_source(
    source: "Source", mpp: Mpp | None = None, reader: str = "auto", *, apply_icc: bool = False
) -> Slide:
    """As open_slide, after the header gate: decoders see the file here for the first time."""
    _require_reader(reader)
    opener = _load(pick_reader(source) if reader == "auto" else reader)
    slide = opener(source, mpp)
    return _in_srgb(slide) if apply_icc else slide


def pick_reader(source: "Source") -> str:
    """OpenSlide where it claims the file and shows all of it, else tiffslide, else image.

    A TIFF without tiles goes to image: tiffslide would decode its strips again for each box. One
    whose levels are SubIFDs (OME-TIFF) goes to tiffslide: OpenSlide sees only its largest level.
    """
    from wsi.readers.gate import PICTURES

    if source.kind == "url":
        return "tiffslide"
    if source.tiff is None:
        return "image" if source.kind in PICTURES else "openslide"
    if source.tiff.main.tile is None and not source.tiff.is_ndpi:
        return "image"
    has_child_levels = any(ifd.is_child and ifd.tile for ifd in source.tiff.ifds)
    from wsi.readers.openslide import can_open

    return "openslide" if can_open(source) and not has_child_levels else "tiffslide"


def _require_reader(reader: str) -> None:
    if reader != "auto" and reader not in READERS:
        raise InvalidOption(f"reader {reader!r} is unknown; use auto, {', '.join(READERS)}")


def _in_srgb(slide: Slide) -> Slide:
    from wsi.readers.colour import to_srgb

    try:
        return to_srgb(slide)
    except BaseException:
        slide.close()
        raise


def _load(reader: str) -> "Callable[[Source, Mpp | None], Slide]":
    module, _, opener = READERS[reader].partition(":")
    loaded: Callable[[Source, Mpp | None], Slide] = getattr(import_module(module), opener)
    return loaded
