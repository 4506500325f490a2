"""What a result says of the native tiles of its slide: each that was needed was read once."""

from pathlib import Path

import numpy as np
import pytest

from service.pipeline import run_request
from service.request import HeatmapRequest
from tests.service.painted import paint, write_model, write_slide


@pytest.mark.parametrize("stride_px", [None, 8])
def test_each_native_tile_is_read_once_with_and_without_overlap(
    tmp_path: Path, stride_px: int | None
) -> None:
    values = (np.arange(16 * 24) * 89 % 241).astype(np.uint8).reshape(16, 24)
    slide = write_slide(tmp_path / "a.tiff", [paint(values, 16, 384, 256)], 0.5)
    request = HeatmapRequest(
        slide=str(slide),
        model=write_model(tmp_path / "model", 16, 0.5),
        mask="none",
        stride_px=stride_px,
        formats=(),
    )
    result = run_request(request, tmp_path / "out")
    native = result.manifest["reading"]["native_tiles"]
    assert native >= 1
    assert result.manifest["tiles"] == (24 * 16 if stride_px is None else 47 * 31)
    assert result.run["reading"] == {
        "native_tiles_needed": native,
        "native_tiles_read": native,
        "read_per_needed": 1.0,
    }
