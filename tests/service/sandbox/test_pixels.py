"""Overview, mask and tiles of a slide in the reader process are those of the slide itself."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from service.sandbox import open_in_sandbox
from service.tissue import MASK_MPP
from wsi.grid import TileGrid, select_tiles
from wsi.mask import tissue_mask
from wsi.overview import read_overview
from wsi.phantom import draw_phantom
from wsi.readers import open_slide
from wsi.slide import Slide, require_mpp
from wsi.tiler import plan_tiles, read_tiles


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("phantom") / "phantom.tiff"
    draw_phantom(path, size_px=2000, mpp=1.0, seed=3)
    return path


def stages(slide: Slide, mpp: float) -> dict[str, NDArray[np.generic]]:
    """What the pipeline makes of the pixels, up to the network."""
    overview = read_overview(slide, MASK_MPP)
    mask = tissue_mask(overview)
    grid = TileGrid.over(slide.info.size, require_mpp(slide.info), tile_px=50, mpp=mpp)
    plan = plan_tiles(slide.info, grid, select_tiles(grid, mask, 0.05))
    batches = list(read_tiles(slide, plan, batch_size=64, workers=8))
    assert len(plan) > 0
    return {
        "overview": overview.rgb,
        "mask": mask.tissue,
        "tiles": np.concatenate([batch.rgb for batch in batches]),
    }


def assert_equal_in_the_sandbox(path: Path, mpp: float) -> None:
    with open_slide(path) as direct:
        info, expected = direct.info, stages(direct, mpp)
    with open_in_sandbox(path) as boxed:
        assert boxed.info == info
        for name, pixels in stages(boxed, mpp).items():
            np.testing.assert_array_equal(pixels, expected[name], err_msg=name)


def test_a_phantom_gives_the_same_bytes(phantom: Path):
    assert_equal_in_the_sandbox(phantom, 4.0)


@pytest.mark.real_data
def test_a_real_slide_gives_the_same_bytes(real_data: Path):
    assert_equal_in_the_sandbox(real_data / "slides" / "CMU-1-Small-Region.svs", 2.0)
