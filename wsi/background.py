"""What empty glass looks like on a slide, and pictures measured against it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi.slide import RGB, WHITE

__all__ = ["OD_UNIT", "background_colour", "normalise_background", "optical_density", "strips"]

OD_UNIT = 80
"""Grey levels for an optical density of 1 (natural logarithm): uint8 then reaches 3.19, which is
4 % of the light of the background."""

STRIP_PX = 1 << 18  # pixels worked on at once: with the temporaries, what a cache holds
SAMPLE_PX = 1 << 18  # pixels looked at, evenly spread
LEAST_SHARE = 0.01  # of the picture; what is scanned in less than this says nothing about the glass
BAND = 10  # grey levels below the brightest green that still count as glass
DARKEST = 150
STRONGEST_TINT = 60  # a microscope's camera without white balance shows glass as (203, 221, 205)
PINKEST = 12  # green below the mean of red and blue: more than that is eosin, not a lamp


def background_colour(rgb: NDArray[np.uint8]) -> RGB:
    """The colour of empty glass in a picture (height, width, 3), estimated from its brightest part.

    All stains of H&E absorb green, so glass is where green is highest: the median colour of pixels
    within 10 grey levels of green's 99th percentile. Pure white is left out, which is what readers
    fill unscanned parts with. Where the result is dark, strongly tinted or pink there is no glass
    in the picture (a microscope field full of tissue), and white is returned.
    """
    step = max(1, int((rgb.shape[0] * rgb.shape[1] / SAMPLE_PX) ** 0.5))
    planes = [np.ascontiguousarray(rgb[::step, ::step, i]) for i in range(3)]
    scanned = (planes[0] & planes[1] & planes[2]) != 255
    if scanned.sum() < LEAST_SHARE * scanned.size:
        return WHITE
    brightest = scanned & (planes[1] >= _quantile(planes[1], scanned, 0.99) - BAND)
    red, green, blue = (int(_quantile(plane, brightest, 0.5)) for plane in planes)
    colour = (red, green, blue)
    if min(colour) < DARKEST or max(colour) - min(colour) > STRONGEST_TINT:
        return WHITE
    return WHITE if (red + blue) / 2 - green > PINKEST else colour


def _quantile(plane: NDArray[np.uint8], where: NDArray[np.bool_], part: float) -> float:
    """np.quantile() of the pixels that are set in `where`, by counting: a fifth of its time."""
    import cv2

    counts = cv2.calcHist([plane], [0], where.view(np.uint8), [256], [0, 256])
    ranks = np.cumsum(counts.ravel().astype(np.int64))
    place = (ranks[-1] - 1) * part
    low, high = np.searchsorted(ranks, (int(place), min(int(place) + 1, ranks[-1] - 1)), "right")
    return float(low + (high - low) * (place - int(place)))


def normalise_background(rgb: NDArray[np.uint8], colour: RGB) -> NDArray[np.uint8]:
    """The picture under a white lamp: each channel over the background's, 255 where brighter."""
    levels = np.arange(256)[:, None] * 255 / np.asarray(colour)
    return _look_up(rgb, np.clip(np.round(levels), 0, 255))


def optical_density(rgb: NDArray[np.uint8], colour: RGB) -> NDArray[np.uint8]:
    """OD_UNIT * -ln(light / background), uint8 (height, width, 3); 0 where brighter than glass."""
    light = np.maximum(np.arange(256)[:, None], 0.5) / np.asarray(colour)
    return _look_up(rgb, np.clip(np.round(-OD_UNIT * np.log(light)), 0, 255))


def strips(plane: NDArray[Any]) -> list[slice]:
    """Rows of a picture that are worked on at once, from the top down."""
    rows = max(1, STRIP_PX // plane.shape[1])
    return [slice(top, top + rows) for top in range(0, len(plane), rows)]


def _look_up(rgb: NDArray[np.uint8], table: NDArray[np.floating]) -> NDArray[np.uint8]:
    """table: (256, 3), one column a channel."""
    import cv2

    levels = np.ascontiguousarray(table.astype(np.uint8)[None])
    return np.asarray(cv2.LUT(np.ascontiguousarray(rgb), levels), np.uint8)
