"""Tiled TIFFs, tile by tile: SVS, generic TIFF, OME-TIFF and Philips, past OpenSlide's pixels.

What the slide is, its levels, resolution and properties, is what OpenSlide states, or tiffslide
where OpenSlide does not know the file. What its pixels are is decoded here, from the tiles that the
file's own directories list. Whatever does not fit is refused with the reason, and goes to those.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from wsi.errors import CorruptSlide, UnsupportedSlide, WsiError
from wsi.geometry import Box, Mpp
from wsi.readers.base import BaseSlide
from wsi.readers.gate import Source
from wsi.readers.stored import LocalFile, StoredFile
from wsi.readers.tiffblocks import TiffBlocks
from wsi.readers.tiffdecode import APERIO_YCBCR, has_full_colours, why_not
from wsi.readers.tiffplan import Span
from wsi.readers.tifftags import Ifd, TiffHeader
from wsi.slide import Level, SlideInfo

__all__ = ["NotTiled", "TiledTiffSlide", "is_openslides", "open_tiff", "why_not_tiled"]

VENDORS = ("aperio", "generic-tiff", "philips", "philips_tiff")
"""OpenSlide's and tiffslide's names of TIFFs whose levels are single pictures of the file. Leica's
and Ventana's are put together of several, Trestle's tiles overlap, and NDPI has none."""

CHUNKY = 1
CODESTREAM_HEAD_BYTES = 256


class NotTiled(UnsupportedSlide):
    """The file's tiles alone are not the slide; another reader may show it."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(
            f"{path}: not to be read tile by tile, because {why}; open it with reader='auto'"
        )
        self.why = why


class TiledTiffSlide(BaseSlide):
    """Each thread decodes what it reads; tiles on the border between two boxes are decoded once."""

    def __init__(self, info: SlideInfo, ifds: tuple[Ifd, ...], blocks: TiffBlocks) -> None:
        super().__init__(info)
        self.ifds = ifds  # of the levels, in their order
        self._blocks = blocks

    def read_shrunk(self, level: int, box: Box, out: NDArray[np.uint8]) -> None:
        """As the function of that name: each tile is shrunk as soon as it is decoded."""
        self._require_inside(level, box)
        with self._reading(), self._naming(level, box):
            self._blocks.read_into(self.ifds[level], box, out)

    def _read_inside(self, level: int, box: Box) -> NDArray[np.uint8]:
        with self._naming(level, box):
            return self._blocks.read(self.ifds[level], box)

    @contextmanager
    def _naming(self, level: int, box: Box) -> Iterator[None]:
        try:
            yield
        except (WsiError, ImportError):  # no damage: a server does not answer, a codec is missing
            raise
        except Exception as error:  # codecs raise what they like
            raise CorruptSlide(
                f"{self._info.path}: the pixels at level {level}, x {box.x}, y {box.y} cannot be "
                f"decoded ({error}); copy the file again from its source"
            ) from error

    def _release(self) -> None:
        self._blocks.close()


def open_tiff(source: Source, mpp: Mpp | None = None) -> TiledTiffSlide:
    """NotTiled where the file's tiles alone are not the slide; a remote file then stays open."""
    header, why = source.tiff, why_not_tiled(source)
    if header is None or why is not None:
        raise NotTiled(source.path, why or "")
    info = _describe(source, mpp)
    _check_vendor(info)
    ifds = tuple(_find_ifd(header, info, level) for level in info.levels)
    _check_levels(info, ifds)
    file = source.remote or LocalFile(source.entry)
    try:
        _check_colours(info, ifds, file)
    except BaseException:
        if source.remote is None:
            file.close()
        raise
    return TiledTiffSlide(replace(info, reader="tiff"), ifds, TiffBlocks(file, info.background))


def why_not_tiled(source: Source) -> str | None:
    """What in its header keeps a file from being read tile by tile; None where nothing does."""
    if source.tiff is None:
        return "it is no TIFF"
    if source.tiff.is_ndpi:
        return "each picture of an NDPI is one JPEG, which OpenSlide cuts at its restart markers"
    main = source.tiff.main
    if main.tile is None:
        return "it has no tiles"
    return _why_not(main)


def _why_not(ifd: Ifd) -> str | None:
    if ifd.planar != CHUNKY:
        return "its colours are stored plane by plane"
    if ifd.samples not in (1, 3):
        return f"it has {ifd.samples} samples a pixel"
    return why_not(ifd)


def _describe(source: Source, mpp: Mpp | None) -> SlideInfo:
    """OpenSlide claims TIFFs whose compression it then refuses."""
    if is_openslides(source):
        from wsi.readers.openslide import open_openslide

        with suppress(UnsupportedSlide), open_openslide(source, mpp) as slide:
            return slide.info
    from wsi.readers.tiffslide import describe_tiffslide

    return describe_tiffslide(source, mpp)


def is_openslides(source: Source) -> bool:
    """Whether OpenSlide claims the file and sees all its levels: not where they are SubIFDs, and
    not from a URL."""
    if source.remote is not None:
        return False
    from wsi.readers.openslide import can_open

    ifds = source.tiff.ifds if source.tiff is not None else ()
    return not any(ifd.is_child and ifd.tile for ifd in ifds) and can_open(source)


def _check_vendor(info: SlideInfo) -> None:
    if info.vendor not in VENDORS:
        raise NotTiled(info.path, f"a slide of {info.vendor} is more than its tiles side by side")


def _find_ifd(header: TiffHeader, info: SlideInfo, level: Level) -> Ifd:
    """The one tiled picture of the level's size; Philips pads its coarser ones to whole tiles."""
    tiled = [ifd for ifd in header.ifds if ifd.tile == level.tile]
    found = [ifd for ifd in tiled if ifd.size == level.size]
    if not found and info.vendor.startswith("philips"):
        found = [ifd for ifd in tiled if _is_padded(ifd, level)]
    if len(found) != 1:
        size = f"{level.size.width} x {level.size.height} px"
        raise NotTiled(info.path, f"{len(found)} of its pictures could be the level of {size}")
    return found[0]


def _is_padded(ifd: Ifd, level: Level) -> bool:
    return all(
        0 <= stored - shown < tile
        for stored, shown, tile in zip(ifd.size, level.size, level.tile, strict=True)
    )


def _check_levels(info: SlideInfo, ifds: tuple[Ifd, ...]) -> None:
    for ifd in ifds:
        why = _why_not(ifd)
        if why is not None:
            raise NotTiled(info.path, why)
    if info.vendor == "aperio" and any(ifd.is_sparse for ifd in ifds[1:]):
        raise NotTiled(info.path, "tiles of a coarser level are missing, and made from a finer one")


def _check_colours(info: SlideInfo, ifds: tuple[Ifd, ...], file: StoredFile) -> None:
    """The first tile tells for all. OpenSlide alone spreads colours that are stored coarser."""
    for ifd in ifds:
        if ifd.compression != APERIO_YCBCR or not ifd.counts.any():
            continue
        first = np.flatnonzero(ifd.counts)[0]
        size_bytes = min(int(ifd.counts[first]), CODESTREAM_HEAD_BYTES)
        head = file.read_spans([Span(int(ifd.offsets[first]), size_bytes)])[0]
        if not has_full_colours(bytes(head), ifd.samples):
            raise NotTiled(info.path, "its JPEG 2000 has fewer pixels of colour than of brightness")
