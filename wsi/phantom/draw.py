"""From a size and a seed to a slide file with its truth beside it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsi.errors import InvalidOption
from wsi.geometry import Mpp, Scale, Size
from wsi.phantom.compose import Painter, draw_atlas
from wsi.phantom.plan import MARGIN, make_plan
from wsi.phantom.texture import INKS
from wsi.pyramid_tiff import write_pyramid
from wsi.store.folder import name_file, partial_file
from wsi.store.places import require_file_place

__all__ = ["LARGEST_PX", "MPP_LIMITS", "PhantomTruth", "draw_phantom", "truth_path"]

LARGEST_PX = 100_000
SMALLEST_PX = 1_000
MPP_LIMITS = (0.1, 1.0)  # nuclei need pixels, and a texture memory
QUALITY = 80


@dataclass(frozen=True)
class PhantomTruth:
    """What was drawn where. Rasters cover all of level 0 from its top left corner.

    Pixel (row, column) covers the level-0 rectangle [column, column + 1) * px0.x by
    [row, row + 1) * px0.y; the last ones may reach over the edge.
    """

    cancer: NDArray[np.bool_]  # (height, width)
    tissue: NDArray[np.bool_]  # (height, width)
    pen: NDArray[np.bool_]  # (height, width)
    size0: Size
    mpp: float  # of level 0
    px0: Scale
    seed: int

    @property
    def cancer_fraction(self) -> float:
        """Of the tissue's area."""
        return float(self.cancer.sum() / max(1, self.tissue.sum()))


def draw_phantom(
    out: Path,
    *,
    size_px: int | Size = 20_000,
    mpp: float = 0.25,
    seed: int = 0,
    pen: str | None = None,
    cancer_fraction: float = 0.2,
    workers: int | None = None,
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> PhantomTruth:
    """Draws an H&E-like breast slide as a pyramidal TIFF, and its truth beside it.

    `out` gets the levels of write_pyramid(); truth_path(out) a PNG, 255 where there is cancer,
    with its um a pixel in the text chunk `mpp`. The same arguments give the same bytes. `size_px`
    is the side of level 0, or its Size; `pen` one of INKS; `cancer_fraction` the cancer's share of
    the tissue, 0 to 0.6; `on_progress(done, all)` counts blocks. Memory is the textures, the plan
    and a few blocks: at 0.25 um/px 0.55 GB for 20,000 px a side, 0.62 GB for 90,000.
    Raises InvalidOption, ResultExists.
    """
    size = size_px if isinstance(size_px, Size) else Size(size_px, size_px)
    _check(size, mpp, seed, pen, cancer_fraction)
    require_file_place(out, option="OUT", overwrite=overwrite)
    require_file_place(truth_path(out), option="OUT", overwrite=overwrite)
    plan = make_plan(size, mpp, seed, cancer_fraction, pen=pen is not None)
    painter = Painter(plan, draw_atlas(mpp, seed, pen), seed)
    try:
        write_pyramid(
            out,
            size,
            painter.paint,
            mpp=Mpp(mpp, mpp),
            quality=QUALITY,
            software="wsi phantom",
            workers=workers,
            overwrite=overwrite,
            on_progress=on_progress,
        )
    except OSError as error:
        name_file(error, out)
        raise
    inner = (slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
    marked = plan.fields["pen"][inner] > 128
    px0 = Scale(float(plan.cell_px), float(plan.cell_px))
    truth = PhantomTruth(plan.cancer, plan.tissue, marked, size, mpp, px0, seed)
    _write_truth(truth_path(out), truth)
    return truth


def truth_path(slide: Path) -> Path:
    return slide.with_name(f"{slide.name.removesuffix(slide.suffix)}.truth.png")


def _write_truth(path: Path, truth: PhantomTruth) -> None:
    """255 where there is cancer. What a pixel covers is in the PNG's own text, in um."""
    from PIL import Image, PngImagePlugin

    text = PngImagePlugin.PngInfo()
    text.add_text("mpp", repr(truth.mpp * truth.px0.x))
    pixels = truth.cancer.astype(np.uint8) * 255
    with partial_file(path) as partial:
        Image.fromarray(pixels).save(partial, "PNG", pnginfo=text)


def _check(size: Size, mpp: float, seed: int, pen: str | None, cancer_fraction: float) -> None:
    if not SMALLEST_PX <= min(size) <= max(size) <= LARGEST_PX:
        raise InvalidOption(
            f"a phantom of {size.width}x{size.height} px; "
            f"each side can have {SMALLEST_PX} to {LARGEST_PX}"
        )
    if not MPP_LIMITS[0] <= mpp <= MPP_LIMITS[1]:
        low, high = MPP_LIMITS
        raise InvalidOption(f"a phantom at {mpp} um/px; it can be drawn at {low} to {high}")
    if seed < 0:
        raise InvalidOption(f"seed {seed}; use 0 or more")
    if pen is not None and pen not in INKS:
        raise InvalidOption(f"a {pen!r} pen; there are {', '.join(INKS)}")
    if not 0 <= cancer_fraction <= 0.6:
        raise InvalidOption(f"cancer in {cancer_fraction} of the tissue; use 0 to 0.6")
