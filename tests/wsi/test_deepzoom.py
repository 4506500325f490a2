"""Deep Zoom and XYZ addresses."""

from xml.etree import ElementTree

import openslide
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openslide.deepzoom import DeepZoomGenerator
from PIL import Image

from wsi.deepzoom import Address, Pyramid
from wsi.errors import InvalidOption
from wsi.geometry import Box, Size


@pytest.mark.parametrize("size", [Size(1, 1), Size(256, 256), Size(1000, 37), Size(257, 1025)])
def test_levels_and_tiles_are_those_of_openslide(size: Size) -> None:
    theirs = DeepZoomGenerator(
        openslide.ImageSlide(Image.new("RGB", size)), tile_size=256, overlap=0
    )
    ours = Pyramid(size)
    assert ours.deepest + 1 == theirs.level_count
    for level in range(theirs.level_count):
        assert ours.level_size(level) == theirs.level_dimensions[level]
        columns, rows = theirs.level_tiles[level]
        for column, row in [(0, 0), (columns - 1, rows - 1)]:
            box = ours.tile(level, column, row).box
            assert (box.width, box.height) == theirs.get_tile_dimensions(level, (column, row))
        with pytest.raises(InvalidOption):
            ours.tile(level, columns, 0)


def test_the_descriptor_says_what_openslide_says() -> None:
    theirs = DeepZoomGenerator(
        openslide.ImageSlide(Image.new("RGB", (1000, 37))), tile_size=256, overlap=0
    )
    ours, other = (
        ElementTree.fromstring(text)
        for text in (Pyramid(Size(1000, 37)).dzi("png"), theirs.get_dzi("png"))
    )
    assert ours.tag == other.tag
    assert ours.attrib == other.attrib
    assert [child.attrib for child in ours] == [child.attrib for child in other]


def test_a_tile_of_a_coarser_level_covers_whole_powers_of_two() -> None:
    # 1000 px: the deepest level is 10 (1024); level 8 has 250 px of 4 level-0 px each
    assert Pyramid(Size(1000, 1000)).tile(8, 0, 0) == Address(Box(0, 0, 250, 250), 4)
    assert Pyramid(Size(1000, 1000)).tile(10, 3, 2) == Address(Box(768, 512, 232, 256), 1)


def test_xyz_tiles_are_whole_squares() -> None:
    # 1000 px need four tiles of 256 a side: z 2; at z 0 a px is 4 level-0 px
    assert Pyramid(Size(1000, 700)).deepest_z == 2
    assert Pyramid(Size(1000, 700)).xyz(0, 0, 0) == Address(Box(0, 0, 256, 256), 4)
    assert Pyramid(Size(1000, 700)).xyz(2, 3, 2) == Address(Box(768, 512, 256, 256), 1)


def test_a_picture_smaller_than_a_tile_has_one() -> None:
    assert Pyramid(Size(100, 20)).xyz(0, 0, 0) == Address(Box(0, 0, 256, 256), 1)


@pytest.mark.parametrize("address", [(3, 0, 0), (-1, 0, 0), (2, 4, 0), (2, 0, 3), (2, -1, 0)])
def test_an_xyz_address_outside_is_refused(address: tuple[int, int, int]) -> None:
    with pytest.raises(InvalidOption):
        Pyramid(Size(1000, 700)).xyz(*address)


@pytest.mark.parametrize("address", [(11, 0, 0), (-1, 0, 0), (10, 4, 0), (10, 0, -1)])
def test_a_deep_zoom_address_outside_is_refused(address: tuple[int, int, int]) -> None:
    with pytest.raises(InvalidOption):
        Pyramid(Size(1000, 1000)).tile(*address)


@given(st.integers(1, 200_000), st.integers(1, 200_000), st.data())
def test_tiles_of_a_level_cover_it_once(width: int, height: int, data: st.DataObject) -> None:
    pyramid = Pyramid(Size(width, height))
    level = data.draw(st.integers(0, pyramid.deepest))
    size = pyramid.level_size(level)
    columns = -(-size.width // 256)
    boxes = [pyramid.tile(level, column, 0).box for column in range(columns)]
    assert [box.x for box in boxes] == list(range(0, size.width, 256))
    assert boxes[-1].right == size.width
