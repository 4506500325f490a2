"""Why a place of a slide has its probability: the tile there, and what the network looked at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidRequest
from wsi.geometry import Box, Scale
from wsi.grid import TileGrid
from wsi.overview import pick_level, read_box
from wsi.readers import open_slide
from wsi.slide import Slide, require_mpp, slide_name
from wsi.store.folder import partial_file
from wsi.store.places import require_file_place
from wsi.tiler import plan_tiles, read_tiles

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from models.explain import Explanation

__all__ = ["Place", "draw_explanation", "explain_place", "read_place"]

CONTEXT_TILES = 5
"""Sides of a tile that the picture shows around it: a pathologist looks at more than it has."""

CONTEXT_PX = 500

LEAST_FALL = 0.01  # of the colour bar: smaller falls are no colour

NOTICE = "Research use only. What moved this answer is not what a tumour is."


@dataclass(frozen=True)
class Place:
    """A tile of the grid that a heatmap of the slide has, and what lies around it."""

    box0: Box  # level-0 px
    rgb: NDArray[np.uint8]  # (tile_px, tile_px, 3), as the network gets it
    context: NDArray[np.uint8]  # (CONTEXT_PX, CONTEXT_PX, 3), the tile in its middle
    context_px0: Scale  # level-0 px for each of its pixels


def explain_place(
    slide: str | Path,
    at0: tuple[float, float],
    out: Path,
    *,
    model: str,
    target: str | None = None,
    mpp: float | None = None,
    reader: str = "auto",
    device: str = "auto",
    trust_code: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Writes the picture `out` (PNG), and returns what it says, as JSON types.

    at0: level-0 px; the tile of the heatmap's grid that holds it is explained, so that the
    probability is the heatmap's. The slide is never overwritten. Raises InvalidRequest, WsiError,
    ModelError.
    """
    from models.explain import explain_tile, load_layers
    from models.infer import load_classifier

    if out.suffix.lower() != ".png":
        raise InvalidRequest(
            f"{out}: the picture is a PNG; use a name that ends in .png with --out"
        )
    require_file_place(out, overwrite=overwrite, inputs=[slide])
    classifier = load_classifier(model, device, batch_size=32, trust_code=trust_code)
    try:
        card = classifier.card
        with open_slide(str(slide), mpp, reader) as opened:
            place = read_place(opened, at0, tile_px=card.tile_px, mpp=card.mpp)
        found = explain_tile(classifier, load_layers(model), place.rgb, target)
    finally:
        classifier.close()
    draw_explanation(place, found, out, title=f"{slide_name(str(slide))} · {card.name}")
    return {
        "picture": str(out),
        "model": card.name,
        "box0": list(place.box0),
        "prob": {name: float(p) for name, p in zip(card.classes, found.prob, strict=True)},
        "target": found.target,
        "gradient_map_px": found.gradient_px or None,
        "occluded_px": found.occluded_px,
        "largest_fall": float(found.occlusion.max()),
    }


def read_place(slide: Slide, at0: tuple[float, float], *, tile_px: int, mpp: float) -> Place:
    """Raises InvalidRequest where the slide's scanned part does not hold the position."""
    info = slide.info
    slide_mpp = require_mpp(info)
    grid = TileGrid.over(info.size, slide_mpp, tile_px=tile_px, mpp=mpp, bounds0=info.bounds)
    left, top, width, height = grid.bounds0
    x, y = at0
    if not (left <= x < left + width and top <= y < top + height):
        raise InvalidRequest(
            f"--at {x:g},{y:g} is not on the slide: its scanned part is x {left} to "
            f"{left + width} and y {top} to {top + height}, in pixels of level 0"
        )
    column = int(np.searchsorted(grid.starts_x0, x, side="right")) - 1
    row = int(np.searchsorted(grid.starts_y0, y, side="right")) - 1
    plan = plan_tiles(info, grid, np.array([[row, column]]))
    (batch,) = read_tiles(slide, plan, batch_size=1, workers=1)
    rgb = np.array(batch.rgb[0])
    x0, y0 = int(grid.starts_x0[column]), int(grid.starts_y0[row])
    box0 = Box(x0, y0, int(grid.ends_x0[column]) - x0, int(grid.ends_y0[row]) - y0)
    px0 = Scale(*(side * CONTEXT_TILES / CONTEXT_PX for side in grid.tile0))
    return Place(box0, rgb, _read_around(slide, box0, px0), px0)


def _read_around(slide: Slide, box0: Box, px0: Scale) -> NDArray[np.uint8]:
    """(CONTEXT_PX, CONTEXT_PX, 3) around the middle of a box; background off the slide."""
    info = slide.info
    left, top = (
        round((start + side / 2) / px - CONTEXT_PX / 2)
        for start, side, px in zip(box0[:2], box0[2:], px0, strict=True)
    )
    whole = Box(0, 0, *(max(1, int(side / px)) for side, px in zip(info.size, px0, strict=True)))
    inside = Box(left, top, CONTEXT_PX, CONTEXT_PX).intersection(whole)
    picture = np.empty((CONTEXT_PX, CONTEXT_PX, 3), np.uint8)
    picture[:] = info.background
    if not inside.is_empty:
        slide_mpp = require_mpp(info)
        level = pick_level(info, slide_mpp, max(px0.x * slide_mpp.x, px0.y * slide_mpp.y))
        x, y = inside.x - left, inside.y - top
        pixels = read_box(slide, level, px0, inside)
        picture[y : y + inside.height, x : x + inside.width] = pixels
    return picture


def draw_explanation(place: Place, found: Explanation, out: Path, *, title: str) -> Path:
    """Side by side: the surroundings with the tile framed, the tile, Grad-CAM and occlusion."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 4.6), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 4)
    for panel in panels:
        panel.set_xticks([])
        panel.set_yticks([])
    what = f"probability of {found.target} {found.target_prob:.3f}"
    figure.suptitle(f"{title} · {what}", fontsize=13)
    figure.supxlabel(NOTICE, fontsize=9, color="0.4")
    _show_surroundings(panels[0], place)
    panels[1].imshow(place.rgb)
    panels[1].set_title("the tile, as the network gets it", fontsize=10)
    _show_gradient(panels[2], place, found)
    _show_occlusion(panels[3], place, found)
    with partial_file(out) as partial:
        figure.savefig(partial, format="png")
    return out


def _show_surroundings(panel: Axes, place: Place) -> None:
    from matplotlib.patches import Rectangle

    panel.imshow(place.context)
    width, height = (side / px for side, px in zip(place.box0[2:], place.context_px0, strict=True))
    corner = (CONTEXT_PX - width) / 2 - 0.5, (CONTEXT_PX - height) / 2 - 0.5
    panel.add_patch(Rectangle(corner, width, height, fill=False, color="black", linewidth=2.5))
    panel.add_patch(Rectangle(corner, width, height, fill=False, color="white", linewidth=1))
    x0, y0 = place.box0[:2]
    panel.set_title(f"around it; level-0 corner ({x0}, {y0})", fontsize=10)


def _show_gradient(panel: Axes, place: Place, found: Explanation) -> None:
    if found.gradient is None:
        panel.text(0.5, 0.5, "the layers of this model\ncannot be asked", ha="center", va="center")
        panel.set_title("Grad-CAM", fontsize=10)
        return
    _show_map(panel, place.rgb, found.gradient, "magma", (0.0, 1.0))
    side = found.gradient_px
    panel.set_title(f"Grad-CAM, from a map of {side} x {side}", fontsize=10)


def _show_occlusion(panel: Axes, place: Place, found: Explanation) -> None:
    most = max(float(np.abs(found.occlusion).max()), LEAST_FALL)
    _show_map(panel, place.rgb, found.occlusion, "coolwarm", (-most, most))
    square = found.occluded_px
    panel.set_title(f"fall of it where {square} x {square} px are covered", fontsize=10)


def _show_map(
    panel: Axes,
    rgb: NDArray[np.uint8],
    values: NDArray[np.float32],
    colormap: str,
    limits: tuple[float, float],
) -> None:
    panel.imshow(rgb.mean(2), cmap="gray", vmin=0, vmax=255)
    low, high = limits
    shown = panel.imshow(values, cmap=colormap, vmin=low, vmax=high, alpha=0.55)
    bar = panel.figure.colorbar(shown, ax=panel, shrink=0.75)
    bar.ax.tick_params(labelsize=8)
