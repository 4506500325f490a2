"""A level in memory: equal pixels, decoded once; the contract is in test_contracts."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import wsi.readers.kept
from tests.wsi.readers.tiffs import make_pixels, write_pyramid
from wsi.errors import InvalidOption
from wsi.geometry import Box, Mpp, Size
from wsi.readers import open_slide
from wsi.readers.array import ArraySlide
from wsi.readers.kept import KeptLevel, keep_level


class Watched(ArraySlide):
    """Counts how often each pixel of level 1 is read."""

    def __init__(self, levels: list[NDArray[np.uint8]], tile: Size) -> None:
        super().__init__(levels, Mpp(1.0, 1.0), tile=tile)
        self.reads = np.zeros(levels[1].shape[:2], int)

    def read_level(self, level: int, box: Box) -> NDArray[np.uint8]:
        if level == 1:
            self.reads[box.y : box.bottom, box.x : box.right] += 1
        return super().read_level(level, box)


def make_watched() -> Watched:
    return Watched([make_pixels(302, 202), make_pixels(151, 101)], tile=Size(64, 64))


def test_every_pixel_of_the_level_is_decoded_once_however_often_it_is_read() -> None:
    slide = make_watched()
    kept = KeptLevel(slide, 1)
    for _ in range(3):
        kept.read_level(1, Box(0, 0, 151, 101))
    assert (slide.reads == 1).all()


@pytest.mark.parametrize("box", [Box(0, 0, 201, 150), Box(60, 70, 33, 41), Box(190, 140, 40, 40)])
def test_each_level_has_the_pixels_of_the_file(tmp_path: Path, box: Box) -> None:
    write_pyramid(tmp_path / "a.tiff", [(403, 301), (201, 150)])
    with open_slide(tmp_path / "a.tiff") as slide:
        kept = KeptLevel(slide, 1)
        for level in (0, 1):
            assert np.array_equal(kept.read_level(level, box), slide.read_level(level, box))


def test_what_a_reader_does_with_its_pixels_changes_nobody_elses() -> None:
    kept = KeptLevel(make_watched(), 1)
    kept.read_level(1, Box(0, 0, 9, 9))[:] = 0
    assert np.array_equal(kept.read_level(1, Box(0, 0, 151, 101)), make_pixels(151, 101))


def test_a_large_level_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    slide = make_watched()
    monkeypatch.setattr(wsi.readers.kept, "MOST_KEPT_PX", 151)
    assert isinstance(keep_level(slide, 1), KeptLevel)
    assert keep_level(slide, 0) is slide


def test_closing_it_closes_the_slide() -> None:
    slide = make_watched()
    KeptLevel(slide, 1).close()
    with pytest.raises(InvalidOption, match="closed"):
        slide.read_level(0, Box(0, 0, 1, 1))
