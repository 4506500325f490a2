"""The reader that decodes smaller, which is measured and not shipped: it is near, and another."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.scaled_decoding import ScaledBlocks
from tests.wsi.readers.tiffs import write_pyramid
from wsi.geometry import Box
from wsi.readers import open_slide
from wsi.readers.tiff import TiledTiffSlide


@pytest.mark.parametrize("cell", [2, 4, 8, 16])
def test_tiles_decoded_smaller_are_near_their_means(tmp_path: Path, cell: int):
    write_pyramid(tmp_path / "a.tif", [(256, 192)], compression="jpeg")
    whole, smaller = (np.empty((192 // cell, 256 // cell, 3), np.uint8) for _ in range(2))
    with open_slide(tmp_path / "a.tif", reader="tiff") as slide:
        assert isinstance(slide, TiledTiffSlide)
        slide.read_shrunk(0, Box(0, 0, 256, 192), whole)
        slide._blocks = ScaledBlocks(slide._blocks)
        slide.read_shrunk(0, Box(0, 0, 256, 192), smaller)
    apart = np.abs(whole.astype(int) - smaller)
    assert 0 < apart.mean() < whole.std() / 2  # noise: the DCT leaves its fine detail out


def test_cells_that_no_scale_divides_are_decoded_whole(tmp_path: Path):
    write_pyramid(tmp_path / "a.tif", [(192, 192)], compression="jpeg")
    whole, same = (np.empty((64, 64, 3), np.uint8) for _ in range(2))
    with open_slide(tmp_path / "a.tif", reader="tiff") as slide:
        assert isinstance(slide, TiledTiffSlide)
        slide.read_shrunk(0, Box(0, 0, 192, 192), whole)
        slide._blocks = ScaledBlocks(slide._blocks)
        slide.read_shrunk(0, Box(0, 0, 192, 192), same)
    np.testing.assert_array_equal(same, whole)
