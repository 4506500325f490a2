"""The levels of one TIFF, pixel for pixel: tiffslide says what they are, our blocks decode.

tiffslide itself reads through zarr, whose tasks outlive a failed read and then complain about the
closed file. Only slides that it puts together of several pictures (SCN), and NDPI, are read that
way.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, cast

import numpy as np
import tiffslide
from numpy.typing import NDArray

from wsi.errors import CorruptSlide, UnsupportedSlide, WsiError
from wsi.geometry import Box, Size
from wsi.readers.gate import Source
from wsi.readers.samples import rgb_from_samples
from wsi.readers.stored import LocalFile
from wsi.readers.tiffblocks import TiffBlocks
from wsi.readers.tiffdecode import APERIO_YCBCR, why_not
from wsi.readers.tiffgate import RESAVE
from wsi.readers.tiffplan import Span
from wsi.readers.tifftags import Ifd, TiffHeader
from wsi.slide import RGB, WHITE

__all__ = ["TiffLevels"]

MIN_IS_WHITE = 0


class _LevelFrame(tiffslide.TiffSlide):
    """tiffslide with positions in the frame of the level, by the hook that it offers for that."""

    def _read_region_loc_transform(self, location: tuple[int, int], level: int) -> tuple[int, int]:
        return location


class TiffLevels:
    """Reading is safe from several threads, which decode together. Closes a remote file with it.

    `blank`: bytes of a remote file that may be taken for zeros. Raises UnsupportedSlide.
    """

    def __init__(
        self,
        source: Source,
        header: TiffHeader,
        background: RGB = WHITE,
        blank: Sequence[Span] = (),
    ) -> None:
        self._path = source.path
        self._background = background
        self._remote = source.remote
        self.header = header
        _check_colours(header.main, source.path)
        remote = source.remote
        with ExitStack() as opened:
            try:
                file = cast(Any, remote.stream(blank) if remote else source.entry)
                self.handle = opened.enter_context(_LevelFrame(file))
                self.sizes = [Size(*size) for size in self.handle.level_dimensions]
                self._ifds = self._find_ifds()
                self._blocks = TiffBlocks(remote or LocalFile(source.entry), background)
            except WsiError:
                raise
            except Exception as error:  # tifffile and zarr raise what the bytes make them raise
                raise UnsupportedSlide(
                    f"{source.path}: tiffslide does not show this TIFF ({error}); {RESAVE}"
                ) from error
            opened.pop_all()

    def find_level(self, size: Size) -> int | None:
        """The level of exactly that size, where it is one picture and all its tiles are stored."""
        found = next((i for i, own in enumerate(self.sizes) if own == size), None)
        ifd = None if found is None else self._ifds[found]
        return None if ifd is None or ifd.is_sparse else found

    def tile(self, level: int) -> Size:
        ifd = self._ifds[level]
        return Size(*(min(256, side) for side in self.sizes[level])) if ifd is None else ifd.block

    def read(self, level: int, box: Box) -> NDArray[np.uint8]:
        """RGB of a box inside the level; tiles that are not stored were not scanned: background."""
        ifd = self._ifds[level]
        try:
            if ifd is None:
                return self._read_composed(level, box)
            return self._blocks.read(ifd, box)
        except (WsiError, ImportError):  # no damage, as in tiff.py
            raise
        except Exception as error:  # codecs raise what they like
            raise CorruptSlide(
                f"{self._path}: the pixels at level {level}, x {box.x}, y {box.y} cannot be read "
                f"({error}); copy the file again from its source"
            ) from error

    def close(self) -> None:
        self.handle.close()
        self._blocks.close()

    def leave(self) -> None:
        """As close(), but a remote file stays open for another reader."""
        self.handle.close()
        if self._remote is None:
            self._blocks.close()

    def _find_ifds(self) -> list[Ifd | None]:
        """The picture of each level; None where it is put together of several, or an NDPI's one
        JPEG, whose parts tifffile finds."""
        properties = self.handle.properties
        if "tiffslide.series-composition" in properties or self.header.is_ndpi:
            self.handle.zarr_group  # noqa: B018 - made once, here, not by the first two threads
            return [None] * len(self.sizes)
        series = self.handle.ts_tifffile.series[properties.get("tiffslide.series-index", 0)]
        by_place = {ifd.place: ifd for ifd in self.header.ifds}
        ifds = [by_place[cast(Any, level.pages[0]).offset] for level in series.levels]
        if [ifd.size for ifd in ifds] != self.sizes:
            raise ValueError("its levels have other sizes than their pictures")
        reasons = [why for why in map(why_not, ifds) if why]
        if reasons:
            raise ValueError(reasons[0])
        return list(ifds)

    def _read_composed(self, level: int, box: Box) -> NDArray[np.uint8]:
        where, size = (box.x, box.y), (box.width, box.height)
        samples = np.asarray(self.handle.read_region(where, level, size, as_array=True))
        inverted = self.header.main.photometric == MIN_IS_WHITE
        return rgb_from_samples(samples, self._background, inverted=inverted)


def _check_colours(main: Ifd, path: str) -> None:
    if main.compression == APERIO_YCBCR:
        raise UnsupportedSlide(
            f"{path}: tiffslide shows its YCbCr JPEG 2000 tiles in false colours; "
            "use reader='openslide' on a local copy"
        )
