"""Pen strokes, margin ink, coverslip edges and black padding: what no H&E stain looks like.

Colours are compared as ratios of optical densities over the slide's own background, which do not
depend on how thick a stain lies. Measured at 8 um/px on 21 breast slides, one skin and one
head-and-neck section (pixels of chroma above 25), against pens of five slides:

- haematoxylin and eosin absorb green the most; red / green is 0.14-0.74 in 98 % of the tissue
  (haematoxylin itself 0.93, Ruifrok & Johnston 2001), and above 1.5 in green and blue pen;
- dark and grey, smallest / largest channel, is below 0.71 in 99.9 % of the tissue, and above 0.74
  in 99.9 % of black pen;
- red pen has red / green like eosin and blood (0.07-0.3), but lies thicker than either:
  green's density reaches 1.7-3, and not even a blood clot is over 1.6 with red / green below 0.13.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsi.background import OD_UNIT, optical_density, strips
from wsi.cores import each_on_cores
from wsi.slide import RGB

__all__ = ["PEN_KINDS", "find_pen"]

MIN_STROKE_UM2 = 10_000.0  # smaller marks are dust and pigment, and stay
MIN_DRY_UM2 = 2_000.0  # the same, where the slide has a pen of that colour
MIN_PEN_UM2 = 1_000_000.0  # in all: less can be the ink of the margins, and says nothing
MIN_CORE_UM2 = 500.0  # after erosion by one pixel
JOIN_UM = 16.0  # gaps in a stroke of a dry pen

Plane = NDArray[np.uint8]


class Rule(NamedTuple):
    """Which optical densities (red, green, blue planes) are surely, and which may be, a pen's."""

    core: Callable[[Plane, Plane, Plane], NDArray[np.bool_]]
    rim: Callable[[Plane, Plane, Plane], NDArray[np.bool_]]
    halo_um: float  # the blurred border: pale red looks like eosin, pale black like nothing


def _times(plane: Plane, factor: float) -> Plane:
    import cv2

    return np.asarray(cv2.convertScaleAbs(plane, alpha=factor), np.uint8)


def _red(
    least: float, red: float, blue: float, opaque: float, dull: float
) -> Callable[..., NDArray[np.bool_]]:
    """Bright red, or dark red: nearly opaque to green and blue alike."""

    def is_red(r: Plane, g: Plane, b: Plane) -> NDArray[np.bool_]:
        bright = (g >= least * OD_UNIT) & (r <= _times(g, red)) & (b >= _times(g, blue))
        dark: NDArray[np.bool_] = (
            (g >= opaque * OD_UNIT) & (b >= _times(g, dull)) & (r <= _times(g, 0.6))
        )
        return bright | dark

    return is_red


def _green_blue(
    least: float, ratio: float, opaque: float, dull: float
) -> Callable[..., NDArray[np.bool_]]:
    """Red absorbed more than green, a little more where it is nearly all absorbed; not grey."""
    return lambda r, g, b: (
        (
            ((r >= least * OD_UNIT) & (r >= _times(g, ratio)))
            | ((r >= opaque * OD_UNIT) & (r >= _times(g, dull)))
        )
        & (np.minimum(g, b) <= _times(r, 0.8))
    )


def _black(
    least: float, grey: float, opaque: float, dull: float
) -> Callable[..., NDArray[np.bool_]]:
    """Grey and dark, or dull and nearly opaque in all channels: black ink that lies on tissue."""

    def is_black(r: Plane, g: Plane, b: Plane) -> NDArray[np.bool_]:
        largest = np.maximum(np.maximum(r, g), b)
        smallest = np.minimum(np.minimum(r, g), b)
        dark = (largest >= least * OD_UNIT) & (smallest >= _times(largest, grey))
        over: NDArray[np.bool_] = (smallest >= opaque * OD_UNIT) & (
            smallest >= _times(largest, dull)
        )
        return dark | over

    return is_black


PEN_KINDS: dict[str, Rule] = {
    "red": Rule(
        core=_red(1.6, 0.13, 0.66, 2.0, 0.75), rim=_red(0.45, 0.30, 0.66, 1.3, 0.72), halo_um=40
    ),
    "green or blue": Rule(
        core=_green_blue(0.45, 1.3, 1.2, 1.12), rim=_green_blue(0.20, 1.15, 0.8, 1.08), halo_um=24
    ),
    "black": Rule(core=_black(1.0, 0.74, 1.0, 0.62), rim=_black(0.5, 0.72, 0.85, 0.60), halo_um=16),
}


def find_pen(rgb: NDArray[np.uint8], mpp: float, colour: RGB) -> NDArray[np.bool_]:
    """True where a picture (height, width, 3) of `mpp` um/px shows no stain of H&E.

    colour: of the background. A stroke is a connected patch of rim colour with enough core colour
    in it; both areas in um2. Its blurred border is taken along.
    """
    found = np.zeros(rgb.shape[:2], np.uint8)
    for plane, rule in zip(_classified(rgb, colour), PEN_KINDS.values(), strict=True):
        strokes = _strokes(plane, mpp)
        if strokes.any():
            found |= _grown(strokes, rule.halo_um, mpp)
    return found.view(np.bool_)


def _classified(rgb: NDArray[np.uint8], colour: RGB) -> list[Plane]:
    """For each kind a uint8 plane (height, width): 0 tissue or glass, 1 rim, 2 core.

    All 0 where no pixel of the picture has the kind's core colour, as on most slides.
    """
    planes = [np.zeros(rgb.shape[:2], np.uint8) for _ in PEN_KINDS]
    rules = list(zip(planes, PEN_KINDS.values(), strict=True))

    def find_cores(rows: slice) -> None:
        channels = _densities(rgb[rows], colour)
        for plane, rule in rules:
            plane[rows] = rule.core(*channels)

    def find_rims(rows: slice) -> None:
        channels = _densities(rgb[rows], colour)
        for plane, rule in rules:
            rim = rule.rim(*channels).view(np.uint8)
            plane[rows] = rim + (rim & plane[rows])

    each_on_cores(find_cores, strips(rgb))
    rules = [(plane, rule) for plane, rule in rules if plane.any()]
    each_on_cores(find_rims, strips(rgb) if rules else [])
    return planes


def _densities(rgb: NDArray[np.uint8], colour: RGB) -> list[Plane]:
    """Optical densities in red, green and blue."""
    import cv2

    return [np.asarray(plane, np.uint8) for plane in cv2.split(optical_density(rgb, colour))]


def _strokes(plane: Plane, mpp: float) -> Plane:
    """1 on the patches that are large enough and have a core, and on others of the same ink.

    A core is 3 x 3 px and more of core colour: pens are smooth, blood and nuclei are speckled.
    Where a pen was surely used, patches of rim colour without a core are the same pen running dry,
    unless they outweigh it: then rim colour is how this slide is stained.
    """
    import cv2

    if not plane.any():
        return plane
    core = np.asarray(cv2.erode((plane == 2).astype(np.uint8), np.ones((3, 3))), np.uint8)
    if not core.any():
        return core
    rim = (plane > 0).astype(np.uint8)
    count, labels = cv2.connectedComponents(_grown(rim, JOIN_UM, mpp))
    area_um2 = np.bincount(labels[rim > 0], minlength=count) * mpp**2
    core_um2 = np.bincount(labels[core > 0], minlength=count) * mpp**2
    certain = (area_um2 >= MIN_STROKE_UM2) & (core_um2 >= MIN_CORE_UM2)
    dry = (area_um2 >= MIN_DRY_UM2) & ~certain
    is_pen = area_um2[certain].sum() >= max(MIN_PEN_UM2, area_um2[dry].sum())
    keep = certain | dry if is_pen else certain
    kept: Plane = keep.astype(np.uint8)[labels] & rim if certain.any() else np.zeros_like(rim)
    return kept


def _grown(plane: Plane, radius_um: float, mpp: float) -> Plane:
    import cv2

    width = 2 * max(1, round(radius_um / mpp)) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    return np.asarray(cv2.dilate(plane, disc), np.uint8)
