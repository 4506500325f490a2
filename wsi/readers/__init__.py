"""Readers: each makes a Slide of one family of files. `open_slide` picks one.

To add a reader, write an opener `(Source, Mpp | None) -> BaseSlide`, name it in READERS, and prove
it by inheriting `ReaderContract` of the tests.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from wsi.errors import InvalidOption, UnsupportedSlide
from wsi.geometry import Mpp
from wsi.slide import Slide

if TYPE_CHECKING:
    from wsi.readers.base import BaseSlide
    from wsi.readers.gate import Source

__all__ = ["READERS", "open_slide", "open_source"]

READERS = {
    "tiff": "wsi.readers.tiff:open_tiff",
    "openslide": "wsi.readers.openslide:open_openslide",
    "tiffslide": "wsi.readers.tiffslide:open_tiffslide",
    "image": "wsi.readers.image:open_image",
}
"""Name to "module:opener"; an opener is `(Source, Mpp | None) -> BaseSlide`."""

LOCAL_ONLY = ("openslide", "image")


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
    if source.kind == "url":
        return _open_remote(source, mpp, reader, apply_icc=apply_icc)
    slide = _open_best(source, mpp) if reader == "auto" else _load(reader)(source, mpp)
    return _in_srgb(slide) if apply_icc else slide


def _open_remote(source: "Source", mpp: Mpp | None, reader: str, *, apply_icc: bool) -> Slide:
    """The gate's other half: the server is asked for the header here."""
    from wsi.address import public_path
    from wsi.readers.remote import connect

    if reader in LOCAL_ONLY:
        raise UnsupportedSlide(
            f"{public_path(source.path)}: {reader} reads local files only; use --reader auto, or "
            "copy it"
        )

    connected = connect(source)
    try:
        return open_source(connected, mpp, reader, apply_icc=apply_icc)
    except BaseException:
        if connected.remote is not None:
            connected.remote.close()
        raise


def _open_best(source: "Source", mpp: Mpp | None) -> Slide:
    """Tile by tile where the file's tiles are the slide, else by the reader that suits it."""
    from wsi.readers.tiff import NotTiled, open_tiff

    reader, why = pick_reader(source)
    if reader == "tiff":
        try:
            slide = open_tiff(source, mpp)
            slide.explain(why)
            return slide
        except NotTiled as error:
            reader, why = _pick_other(source), error.why
    other = _load(reader)(source, mpp)
    other.explain(why)
    return other


def pick_reader(source: "Source") -> tuple[str, str]:
    """Which reader, and why. For `tiff` only the header speaks: it may refuse when it opens it."""
    from wsi.readers.gate import PICTURES
    from wsi.readers.tiff import why_not_tiled

    if source.kind in PICTURES:
        return "image", "a picture without tiles is decoded whole"
    if source.tiff is None:
        return "openslide", f"the only one that reads {source.kind}"
    why_not = why_not_tiled(source)
    if why_not is None:
        return "tiff", "each tile that the file lists is decoded once, in as many threads as read"
    return _pick_other(source), why_not


def _pick_other(source: "Source") -> str:
    """For a TIFF: OpenSlide where it claims the file and shows all of it, else tiffslide or image.

    A TIFF without tiles goes to image: tiffslide would decode its strips again for each box. One
    whose levels are SubIFDs (OME-TIFF) goes to tiffslide: OpenSlide sees only its largest level. So
    does whatever is behind a URL: the others read local files only.
    """
    from wsi.readers.tiff import is_openslides

    if source.remote is not None:
        return "tiffslide"
    if source.tiff is not None and source.tiff.main.tile is None and not source.tiff.is_ndpi:
        return "image"
    return "openslide" if is_openslides(source) else "tiffslide"


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


def _load(reader: str) -> "Callable[[Source, Mpp | None], BaseSlide]":
    module, _, opener = READERS[reader].partition(":")
    loaded: Callable[[Source, Mpp | None], BaseSlide] = getattr(import_module(module), opener)
    return loaded
