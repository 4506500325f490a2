"""The slide small, to look at, and how often its pixels are decoded for it."""

import numpy as np
from numpy.typing import NDArray

from models.painted import painted_card
from service.picture import keep_small, read_picture
from service.pipeline import prepare
from service.request import HeatmapRequest
from wsi.geometry import Box, Mpp
from wsi.overview import read_overview
from wsi.readers.array import ArraySlide
from wsi.tiler import read_tiles


class Watched(ArraySlide):
    """Counts how often each pixel of its smallest level is read."""

    def __init__(self, levels: list[NDArray[np.uint8]]) -> None:
        super().__init__(levels, Mpp(1.0, 1.0))
        self.reads = np.zeros(levels[-1].shape[:2], int)

    def read_level(self, level: int, box: Box) -> NDArray[np.uint8]:
        if level == len(self.info.levels) - 1:
            self.reads[box.y : box.bottom, box.x : box.right] += 1
        return super().read_level(level, box)


def make_watched() -> Watched:
    """4,804 by 800 px of pink at 1 um/px, and a level of 4 um/px, which mask, picture and tiles
    all come from."""
    pink = np.array([220, 120, 180], np.uint8)
    return Watched([np.tile(pink, (800, 4804, 1)), np.tile(pink, (200, 1201, 1))])


def test_mask_picture_and_tiles_of_a_small_slide_decode_its_level_once() -> None:
    opened = make_watched()
    slide = keep_small(opened)
    prepared = prepare(HeatmapRequest(slide="array", mask="none"), slide, painted_card())
    tiles = sum(len(batch) for batch in read_tiles(slide, prepared.plan, batch_size=64))
    picture = read_picture(slide, prepared.overview)
    assert tiles == len(prepared.plan) > 0
    assert prepared.plan.level == 1
    assert picture.rgb.shape == (200, 1201, 3)
    assert (opened.reads == 1).all()


def test_the_picture_is_the_same_with_and_without_the_level_in_memory() -> None:
    slide = make_watched()
    kept = keep_small(slide)
    assert np.array_equal(read_picture(kept).rgb, read_picture(slide).rgb)
    assert np.array_equal(read_overview(kept, 8.0).rgb, read_overview(slide, 8.0).rgb)
