"""Where the tissue is."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi.background import background_colour, normalise_background, strips
from wsi.cores import each_on_cores
from wsi.errors import InvalidOption
from wsi.geometry import Scale
from wsi.overview import Overview, read_overview
from wsi.pen import find_pen
from wsi.slide import Slide

__all__ = ["MASK_METHODS", "MASK_MPP", "TissueMask", "mask_image", "mask_picture", "tissue_mask"]

MASK_MPP = 8.0  # um/px: 1.25x, where a cell is a pixel and a 200 um field is 25 px

MIN_ISLAND_UM2 = 20_000.0
"""Half of the default model's 200 um field: a speck of 160 um that no tile would be kept for."""

MAX_HOLE_UM2 = 40_000.0
"""One 200 um field: lumina of ducts and vessels and fat cells (0.01 mm2) belong to the tissue."""

LARGEST_SHARE = 0.05
"""Of the picture, that is called small at most: a camera's field can be under 0.001 mm2."""

BLACK = 24  # brightest channel; darker is padding or nothing, tissue at 8 um/px is above 53

OUTLINE = (0, 90, 255)  # no stain of H&E is this blue
DIMMED = 0.45  # of the distance to white that non-tissue is moved


@dataclass(frozen=True)
class TissueMask:
    """Tissue on a coarse raster over all of level 0, from its top left corner.

    Pixel (row, column) covers the level-0 rectangle [column, column + 1) * px0.x by
    [row, row + 1) * px0.y, as in an Overview.
    """

    tissue: NDArray[np.bool_]  # (height, width)
    mpp: float  # um a pixel
    px0: Scale  # level-0 px for each px of the mask
    method: str  # key of MASK_METHODS, or "user"
    warnings: tuple[str, ...] = ()

    @property
    def area_mm2(self) -> float:
        return float(self.tissue.sum()) * self.mpp**2 / 1e6


def tissue_mask(
    source: Overview | Slide,
    method: str = "saturation",
    *,
    remove_pen: bool = True,
    min_island_um2: float = MIN_ISLAND_UM2,
    max_hole_um2: float = MAX_HOLE_UM2,
) -> TissueMask:
    """Tissue of a slide at 8 um/px (or its own resolution where that is coarser).

    An Overview that was read already is used as it is. method: a key of MASK_METHODS; with "none"
    all of level 0 is tissue, pen and holes included. A slide without tissue has an empty mask and
    a warning. Raises InvalidOption, MissingResolution, CorruptSlide.
    """
    if method not in MASK_METHODS:
        raise InvalidOption(f"tissue mask {method!r}: use one of {', '.join(MASK_METHODS)}")
    if min_island_um2 < 0 or max_hole_um2 < 0:
        raise InvalidOption(
            f"smallest island {min_island_um2} um2, largest hole {max_hole_um2} um2: use 0 or more"
        )
    overview = source if isinstance(source, Overview) else read_overview(source, MASK_MPP)
    if method == "none":
        everything = np.ones(overview.rgb.shape[:2], np.bool_)
        return TissueMask(everything, overview.mpp, overview.px0, method)
    return _found_tissue(overview, method, remove_pen, min_island_um2, max_hole_um2)


def _found_tissue(
    overview: Overview, method: str, remove_pen: bool, min_island_um2: float, max_hole_um2: float
) -> TissueMask:
    rgb, colour = overview.rgb, background_colour(overview.rgb)
    hole_px, island_px = (
        min(area_um2 / overview.mpp**2, LARGEST_SHARE * rgb.shape[0] * rgb.shape[1])
        for area_um2 in (max_hole_um2, min_island_um2)
    )
    possible = _in_strips(_brightest, rgb) > BLACK
    pen = find_pen(rgb, overview.mpp, colour) if remove_pen else np.zeros_like(possible)
    possible &= ~pen
    tissue = MASK_METHODS[method](normalise_background(rgb, colour), overview.mpp, possible)
    # holes first: what lies under a pen is no hole to fill
    tissue = _without_small(~tissue, hole_px, inverted=True) & possible
    tissue = _without_rims(tissue, pen, overview.mpp)
    tissue = _without_small(tissue, island_px)
    empty = () if tissue.any() else (f"no tissue found (method {method})",)
    return TissueMask(tissue, overview.mpp, overview.px0, method, empty)


RIM_UM = 100.0  # the narrowest tissue that is kept beside a pen
RIM_REACH_UM = 150.0

SATURATION_RANGE = (10, 16)
"""Of 255, for Otsu's threshold. Glass over its own colour stays below 7 in 99 % of the pixels of
every slide looked at. The range keeps Otsu from splitting glass into two on an empty slide, or
eosin from haematoxylin on one full of tissue. Its upper end decides how much pale tissue is kept:
of the IDC data set's invasive tiles 99.0 % at 40, 99.6 % at 24, 99.9 % at 16."""

SMOOTH_UM = 24.0  # compression noise in the colours


def saturated(rgb: NDArray[np.uint8], mpp: float, possible: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Otsu's threshold on the HSV saturation, as CLAM and its successors use it."""
    saturation = _in_strips(_saturation, rgb)
    return _otsu(_blurred(saturation, SMOOTH_UM, mpp), possible, SATURATION_RANGE)


LAB_RANGE = (1.5, 2.0)
"""Units of CIELAB. Glass stays below 1 in 99 % of the smoothed pixels; fat has 1.5-6."""

LAB_CEILING = 6.0  # else dark tissue would be seen 50 um away; so it is seen 20 um away

LAB_SMOOTH_UM = 100.0  # the width of a fat cell: its coloured border fills it

LAB_STEPS = 8  # grey levels a unit of CIELAB, so that means keep their fractions in uint8


def coloured(rgb: NDArray[np.uint8], mpp: float, possible: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mean distance in CIELAB's a and b from the background, over the width of a fat cell.

    For faint and fatty tissue: it is as sensitive to pale pink as to dark, and does not see
    lightness, so that shadows, air bubbles and the glass's own edges do not count.
    """
    distance = _blurred(_in_strips(_colour_distance, rgb), LAB_SMOOTH_UM, mpp)
    low, high = (round(limit * LAB_STEPS) for limit in LAB_RANGE)
    return _otsu(distance, possible, (low, high))


MASK_METHODS: dict[
    str, Callable[[NDArray[np.uint8], float, NDArray[np.bool_]], NDArray[np.bool_]]
] = {
    "saturation": saturated,
    "lab": coloured,
    "none": lambda rgb, mpp, possible: possible,
}
"""(rgb over its background, um/px, where tissue may be) -> tissue, bool (height, width)."""


def _in_strips(
    function: Callable[[NDArray[np.uint8]], NDArray[np.uint8]], rgb: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """One plane (height, width) of a picture, with the temporaries of a strip only."""
    plane = np.empty(rgb.shape[:2], np.uint8)

    def fill(strip: slice) -> None:
        plane[strip] = function(rgb[strip])

    each_on_cores(fill, strips(rgb))
    return plane


def _brightest(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    brightest: NDArray[np.uint8] = np.maximum(np.maximum(rgb[..., 0], rgb[..., 1]), rgb[..., 2])
    return brightest


def _saturation(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import cv2

    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)[..., 1], np.uint8)


def _colour_distance(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import cv2

    lab = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    distance = cv2.magnitude(lab[..., 1], lab[..., 2])
    return (np.minimum(distance, LAB_CEILING) * LAB_STEPS).astype(np.uint8)


def _blurred(plane: NDArray[np.uint8], width_um: float, mpp: float) -> NDArray[np.uint8]:
    import cv2

    width = max(1, round(width_um / mpp)) | 1
    return np.asarray(cv2.blur(plane, (width, width)), np.uint8)


def _otsu(
    plane: NDArray[np.uint8], possible: NDArray[np.bool_], limits: tuple[int, int]
) -> NDArray[np.bool_]:
    """Above Otsu's threshold of the possible pixels, moved into the limits."""
    import cv2

    low, high = limits
    values = plane[possible]
    otsu = cv2.threshold(values, 0, 255, cv2.THRESH_OTSU)[0] if values.size else low
    above: NDArray[np.bool_] = plane > min(max(otsu, low), high)
    return above


def _without_rims(
    tissue: NDArray[np.bool_], pen: NDArray[np.bool_], mpp: float
) -> NDArray[np.bool_]:
    """The tissue without the thin strips along a pen, which are its own blurred border."""
    import cv2

    if not pen.any():
        return tissue
    near = _blurred(pen.view(np.uint8) * np.uint8(255), 2 * RIM_REACH_UM, mpp) > 0
    width = max(1, round(RIM_UM / mpp)) | 1
    square = np.ones((width, width), np.uint8)
    opened = cv2.morphologyEx(tissue.view(np.uint8), cv2.MORPH_OPEN, square)
    kept: NDArray[np.bool_] = tissue & (opened.view(np.bool_) | ~near)
    return kept


def _without_small(
    region: NDArray[np.bool_], least_px: float, inverted: bool = False
) -> NDArray[np.bool_]:
    """The region without its patches below `least_px` (8 neighbours), or all but that."""
    import cv2

    count, found = cv2.connectedComponents(region.view(np.uint8))
    labels = np.asarray(found, np.int32)
    area_px = sum(np.bincount(labels[rows].ravel(), minlength=count) for rows in strips(labels))
    keep = np.asarray(area_px >= least_px) ^ inverted
    keep[0] = inverted
    kept = np.empty(region.shape, np.bool_)
    for rows in strips(labels):
        np.take(keep, labels[rows], out=kept[rows], mode="clip")
    return kept


def mask_image(mask: TissueMask) -> NDArray[np.uint8]:
    """255 tissue, 0 none: uint8 (height, width), which can be given back as the user's own."""
    return mask.tissue.view(np.uint8) * np.uint8(255)


def mask_picture(overview: Overview, mask: TissueMask) -> NDArray[np.uint8]:
    """The overview with the tissue outlined and the rest paler: uint8 (height, width, 3)."""
    import cv2

    size = (overview.rgb.shape[1], overview.rgb.shape[0])
    tissue = cv2.resize(mask.tissue.view(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    pale = cv2.convertScaleAbs(overview.rgb, alpha=1 - DIMMED, beta=255 * DIMMED)
    picture = np.where((tissue != 0)[..., None], overview.rgb, pale).astype(np.uint8)
    edges, _ = cv2.findContours(tissue, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    width = max(1, round(max(size) / 800))
    cv2.drawContours(picture, edges, -1, OUTLINE, width)
    return picture
