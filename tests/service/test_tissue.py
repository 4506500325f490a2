"""What is refused before a slide's pixels are read, and where a user's own mask lies on it."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.painted import painted_card
from service.pipeline import prepare
from service.request import HeatmapRequest
from wsi.errors import SlideTooCoarse
from wsi.geometry import Box, Mpp
from wsi.readers.array import ArraySlide


class UnreadSlide(ArraySlide):
    def read_level(self, level: int, box: Box) -> NDArray[np.uint8]:
        raise AssertionError("it was read")


@pytest.mark.parametrize("mpp", [8.0, 25.0])
def test_slide_that_is_too_coarse_is_refused_before_it_is_read(mpp: float) -> None:
    slide = UnreadSlide([np.broadcast_to(np.uint8(255), (5000, 5000, 3))], Mpp(mpp, mpp))
    with pytest.raises(SlideTooCoarse, match=f"level 0 has {mpp:g} um/px, the tiles need 4"):
        prepare(HeatmapRequest(slide="array"), slide, painted_card(50, 4.0))
    with pytest.raises(AssertionError, match="it was read"):
        prepare(HeatmapRequest(slide="array", upsample=True), slide, painted_card(50, 4.0))


@pytest.mark.parametrize(
    ("mask_frame", "first0"), [(None, (160, 96)), ("qupath", (160, 96)), ("level0", (96, 64))]
)
def test_geojson_mask_lies_where_its_frame_says(
    tmp_path: Path, mask_frame: str | None, first0: tuple[int, int]
) -> None:
    """A square from (96, 64) on, of a slide whose bounds begin at (64, 32)."""
    ring = [[96, 64], [160, 64], [160, 128], [96, 128], [96, 64]]
    mask = tmp_path / "mask.geojson"
    mask.write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    white = np.full((512, 512, 3), 255, np.uint8)
    slide = ArraySlide([white], Mpp(1.0, 1.0), bounds=Box(64, 32, 400, 400))
    request = HeatmapRequest(slide="array", mask=str(mask), mask_frame=mask_frame, min_tissue=0.9)
    plan = prepare(request, slide, painted_card(16, 1.0)).plan
    assert len(plan) == 4 * 4
    assert tuple(plan.xy0.min(axis=0)) == first0
