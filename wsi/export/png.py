"""Pictures: the bare heatmap, and the heatmap on the slide with its legend; as PNG files."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsi.errors import InvalidOption
from wsi.export.legend import Frame, Legend, draw_numbers, font_px, frame_picture
from wsi.export.panel import Panel, draw_panel, plan_panel, strips_of_panel
from wsi.export.source import ExportSource
from wsi.export.strips import STRIP_PX, spans_of_rows, write_png
from wsi.geometry import Size
from wsi.heatmap import pyramid
from wsi.overview import Overview
from wsi.render import COLORMAPS, Style, render

__all__ = ["MOST_PX", "draw_overlay", "save_png", "write_heatmap", "write_overlay"]

MOST_PX = 2400
"""The longest side of a picture: fits a screen, opens everywhere; data are other files."""

CELL_PX = 32  # a cell is enlarged at most so far

OVERLAY_ALPHA, OVERLAY_FADE = 0.75, 0.1
"""Low probabilities hardly tint the tissue, so that it can be judged by eye beside high ones."""


def write_heatmap(source: ExportSource, path: Path, *, colormap: str = COLORMAPS[0]) -> Path:
    """RGBA PNG of the positive class, transparent where nothing was scored.

    A cell is a square of equal pixels, the first cell's corner is the picture's. The text chunks
    say where it lies: `origin0` is level-0 px, `px0` level-0 px for each px of the picture.
    """
    values, shrink = _fitting_level(source.heatmap.positive)
    enlarge = max(1, min(CELL_PX, MOST_PX // max(values.shape)))
    size = Size(values.shape[1] * enlarge, values.shape[0] * enlarge)
    px0 = [cell0 * shrink / enlarge for cell0 in source.heatmap.cell0]
    where = {"origin0": source.heatmap.bounds0[:2], "px0": px0}
    text = {key: f"{x:.12g} {y:.12g}" for key, (x, y) in where.items()}
    strips = _enlarged(values, Style(colormap), enlarge)
    return write_png(path, size, 4, strips, _about(source) | text)


def _enlarged(values: NDArray[np.float32], style: Style, times: int) -> Iterator[NDArray[np.uint8]]:
    """RGBA strips, a few rows of cells each."""
    rows = max(1, STRIP_PX // (values.shape[1] * times**2))
    for first in range(0, len(values), rows):
        yield render(values[first : first + rows], style).repeat(times, 0).repeat(times, 1)


def write_overlay(
    source: ExportSource,
    path: Path,
    *,
    colormap: str = COLORMAPS[0],
    alpha: float = OVERLAY_ALPHA,
    fade: float = OVERLAY_FADE,
    outline: bool = True,
) -> Path:
    """RGB PNG of draw_overlay(), drawn and written strip by strip. Raises InvalidOption where the
    source has no overview."""
    style = Style(colormap, alpha=alpha, fade=fade)
    overview, panel = _plan_overlay(source, MOST_PX)
    strips = strips_of_panel(source.heatmap, overview, panel, style, _line_px(panel, outline))
    frame = Frame(panel.size, _legend(source, style, panel))
    return write_png(path, frame.size, 3, frame.around(strips), _about(source))


def draw_overlay(
    source: ExportSource,
    style: Style,
    *,
    outline: bool = True,
    most_px: int = MOST_PX,
    marks0: Sequence[tuple[float, float]] = (),
) -> NDArray[np.uint8]:
    """The bounds of the slide under the heatmap, framed by title, scale bar and colour bar: uint8
    RGB, about `most_px` on its longest side at most. `marks0`, level-0 px, are numbered from 1.
    """
    overview, panel = _plan_overlay(source, most_px)
    picture = draw_panel(source.heatmap, overview, panel, style, _line_px(panel, outline))
    if marks0:
        xy = (np.asarray(marks0) - source.heatmap.bounds0[:2]) / panel.px0
        picture = draw_numbers(picture, xy)
    return frame_picture(picture, _legend(source, style, panel))


def _plan_overlay(source: ExportSource, most_px: int) -> tuple[Overview, Panel]:
    if source.overview is None:
        raise InvalidOption(
            f"{source.slide.name}: an overlay needs the slide's overview, and this result has none;"
            " make it again from the slide"
        )
    em = font_px(Size(most_px, most_px))
    most = Size(most_px - 2 * em, most_px - 12 * em)
    return source.overview, plan_panel(source.heatmap, source.overview.mpp, most)


def _line_px(panel: Panel, outline: bool) -> int:
    return max(1, round(max(panel.size) / 1000)) if outline else 0


def _legend(source: ExportSource, style: Style, panel: Panel) -> Legend:
    return Legend(
        title=source.slide.name,
        subtitle=_subtitle(source),
        bar_label=f"probability of {source.heatmap.positive_class}",
        style=style,
        threshold=source.heatmap.threshold,
        mpp=panel.mpp,
    )


def _subtitle(source: ExportSource) -> str:
    part = source.summary.get("positive_tissue_fraction")
    if not np.isfinite(source.heatmap.positive).any():
        return f"{source.model} · no tile holds enough tissue: nothing is scored"
    if part is None:
        return source.model
    return f"{source.model} · {100 * part:.1f} % of the scored tissue is at or above the threshold"


def _fitting_level(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
    """The finest level of the pyramid that a picture holds, and how many cells one of its is."""
    levels = pyramid(values)
    level = next(i for i, cells in enumerate(levels) if max(cells.shape) <= MOST_PX)
    return levels[level], 2**level


def _about(source: ExportSource) -> dict[str, str]:
    return {"model": source.model, "slide_id": source.slide_id}


def save_png(pixels: NDArray[np.uint8], path: Path, text: Mapping[str, str] | None = None) -> Path:
    """uint8 (height, width), or with 3 (RGB) or 4 (RGBA) channels, whole or not at all.

    `text`: chunks of the file.
    """
    size = Size(pixels.shape[1], pixels.shape[0])
    strips = (pixels[first:stop] for first, stop in spans_of_rows(size))
    return write_png(path, size, 1 if pixels.ndim == 2 else pixels.shape[2], strips, text)
