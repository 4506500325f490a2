"""Pens painted on a painted slide at 8 um/px: what is found, and what is left alone."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from wsi.pen import find_pen

GLASS = (243, 242, 242)
EOSIN = (215, 150, 190)
NUCLEI = (110, 70, 150)  # dense haematoxylin, as a lymph follicle is at 8 um/px
DARKEST_NUCLEI = (75, 45, 110)
BLOOD = (200, 60, 75)

PENS = {
    "red": (195, 25, 45),
    "green": (45, 140, 120),
    "blue": (40, 95, 190),
    "dark blue": (15, 25, 130),
    "black": (35, 32, 28),
}

Picture = NDArray[np.uint8]


def glass(height: int = 200, width: int = 200) -> Picture:
    noise = np.random.default_rng(0).integers(-2, 3, (height, width, 3))
    return (np.array(GLASS) + noise).astype(np.uint8)


def section(colour: tuple[int, int, int] = EOSIN) -> Picture:
    """A square of 1 mm2 in the middle of glass."""
    rgb = glass()
    rgb[40:165, 40:165] = colour
    return rgb


def with_stroke(rgb: Picture, colour: tuple[int, int, int], y: int) -> tuple[Picture, Picture]:
    """A horizontal stroke of 160 um with a blurred border, and where it is (0 or 1)."""
    where = np.zeros(rgb.shape[:2], np.uint8)
    where[y : y + 20, 10:190] = 1
    ink = cv2.GaussianBlur(where.astype(np.float32), (0, 0), 1.5)[..., None]
    light = np.array(colour) / np.array(GLASS)  # ink lets through its share of what is below
    return (rgb * light**ink).astype(np.uint8), where


@pytest.mark.parametrize(
    ("name", "y"),  # on glass, and across the tissue (where dark blue looks like haematoxylin)
    [(name, y) for name in PENS for y in (10, 90) if (name, y) != ("dark blue", 90)],
)
def test_a_stroke_is_found_whole_and_little_else(name: str, y: int):
    rgb, where = with_stroke(section(), PENS[name], y)
    found = find_pen(rgb, 8.0, GLASS)
    assert found[where == 1].mean() > 0.98
    around = cv2.dilate(where, np.ones((17, 17), np.uint8))  # 64 um
    assert not found[around == 0].any()


@pytest.mark.parametrize("colour", [EOSIN, NUCLEI, DARKEST_NUCLEI, BLOOD, (240, 225, 238)])
def test_stained_tissue_is_no_pen(colour: tuple[int, int, int]):
    assert not find_pen(section(colour), 8.0, GLASS).any()


def test_the_edge_of_the_coverslip_is_found():
    rgb = section()
    cv2.line(rgb, (20, 0), (10, 199), (70, 71, 70), 3)  # 24 um wide
    found = find_pen(rgb, 8.0, GLASS)
    assert found[:, 8:23].any(axis=1).all()
    assert not found[:, 40:].any()


def test_black_padding_is_found():
    rgb = section()
    rgb[:, 180:] = 0
    assert find_pen(rgb, 8.0, GLASS)[:, 180:].all()


def test_specks_of_dust_and_pigment_stay():
    rgb = section()
    rgb[60:68, 60:68] = (20, 20, 20)  # 64 um a side: 4,096 um2
    assert not find_pen(rgb, 8.0, GLASS).any()


def test_speckled_blood_as_dark_as_a_pen_stays():
    rgb = section(BLOOD)
    rgb[40:165:2, 40:165:2] = PENS["red"]  # every fourth pixel
    assert not find_pen(rgb, 8.0, GLASS).any()


def test_a_pen_that_runs_dry_is_found_where_it_was_wet_elsewhere():
    pale = (235, 120, 135)
    rgb = glass(400, 400)
    rgb[300:320, 20:120] = pale
    assert not find_pen(rgb, 8.0, GLASS).any()
    rgb[20:120, 20:220] = PENS["red"]  # 1.28 mm2
    assert find_pen(rgb, 8.0, GLASS)[300:320, 20:120].all()


def test_tissue_of_the_pens_own_pale_colour_outweighs_it_and_stays():
    rgb = glass(400, 400)
    rgb[150:390, 20:380] = (235, 120, 135)  # 5.5 mm2
    rgb[20:120, 20:220] = PENS["red"]
    found = find_pen(rgb, 8.0, GLASS)
    assert found[20:120, 20:220].all()
    assert not found[150:].any()


def test_a_tinted_lamp_does_not_turn_tissue_into_pen():
    lamp = np.array((203, 221, 205)) / np.array(GLASS)  # a camera without white balance
    rgb = (section(NUCLEI) * lamp).astype(np.uint8)
    assert not find_pen(rgb, 8.0, (203, 221, 205)).any()


@pytest.mark.parametrize("mpp", [4.0, 16.0])
def test_sizes_are_micrometres_whatever_the_resolution(mpp: float):
    side = round(240 / mpp)
    rgb = glass(side * 3, side * 3)
    rgb[side : 2 * side, side : 2 * side] = PENS["green"]  # 240 um a side
    assert find_pen(rgb, mpp, GLASS)[side : 2 * side, side : 2 * side].all()
    small = round(64 / mpp)
    rgb = glass(side * 3, side * 3)
    rgb[5 : 5 + small, 5 : 5 + small] = PENS["green"]
    assert not find_pen(rgb, mpp, GLASS).any()
