"""Numbers out of properties that any program may have written."""

from pathlib import Path

import pytest

from tests.wsi.readers.tiffs import make_pixels, write_tiff
from wsi.geometry import Size
from wsi.readers import open_slide
from wsi.readers.properties import read_bounds, read_number

BOUNDS = {"a.bounds-x": "10", "a.bounds-y": "20", "a.bounds-width": "500", "a.bounds-height": 60}


def test_bounds_are_cut_at_the_slides_edge():
    assert read_bounds(BOUNDS, "a.bounds", Size(400, 300)) == (10, 20, 390, 60)


@pytest.mark.parametrize(
    "properties",
    [
        {},
        BOUNDS | {"a.bounds-x": "400"},
        BOUNDS | {"a.bounds-height": "nan"},
        BOUNDS | {"a.bounds-width": "inf"},
    ],
)
def test_no_bounds_where_one_side_is_no_number_or_nothing_is_inside(properties: dict[str, object]):
    assert read_bounds(properties, "a.bounds", Size(400, 300)) is None


@pytest.mark.parametrize("text", ["", "fast", "nan", "-inf", None])
def test_what_is_no_finite_number_is_not_stated(text: str | None):
    assert read_number({"a": text}, "a") is None


@pytest.mark.parametrize("reader", ["openslide", "tiffslide"])
@pytest.mark.parametrize("power", [0, -20])
def test_an_objective_that_there_cannot_be_is_not_stated(tmp_path: Path, reader: str, power: int):
    path = write_tiff(
        tmp_path / "a.svs",
        make_pixels(128, 128),
        description=f"Aperio Image Library\r\n128x128 |AppMag = {power}|MPP = 0.5",
    )
    with open_slide(path, reader=reader) as slide:
        assert slide.info.objective_power is None
        assert slide.info.mpp == (0.5, 0.5)
