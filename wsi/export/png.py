"""Pictures: the bare heatmap, and the heatmap on the slide with its legend."""

import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsi.errors import InvalidOption
from wsi.export.legend import Legend, draw_numbers, font_px, frame_picture
from wsi.export.output import partial_file
from wsi.export.panel import draw_panel, plan_panel
from wsi.export.source import ExportSource
from wsi.geometry import Size
from wsi.heatmap import pyramid
from wsi.render import COLORMAPS, Style, render

__all__ = ["MOST_PX", "draw_overlay", "write_heatmap", "write_overlay"]

MOST_PX = 2400
"""The longest side of a picture: fits a screen, opens everywhere; data are other files."""

CELL_PX = 32  # a cell is enlarged at most so far

OVERLAY_ALPHA, OVERLAY_FADE = 0.75, 0.1
"""Low probabilities hardly tint the tissue, so that it can be judged by eye beside high ones."""

PHOTO = {"level": 1, "strategy": 3, "filter": 128}
"""libpng's settings for a picture of tissue: Paeth's filter in every row, then runs and Huffman
codes alone. 1,935 x 2,235 px: 86 ms and 3.67 MB; all five filters tried and zlib at level 2: 214 ms
and 3.79 MB, at level 6: 312 ms and 3.71 MB."""

DRAWN = {"level": 2, "filter": 32}
"""For squares of one colour: each row as its difference to the one above."""


def write_heatmap(source: ExportSource, path: Path, *, colormap: str = COLORMAPS[0]) -> Path:
    """RGBA PNG of the positive class, transparent where nothing was scored.

    A cell is a square of equal pixels, the first cell's corner is the picture's. The text chunks
    say where it lies: `origin0` is level-0 px, `px0` level-0 px for each px of the picture.
    """
    values, shrink = _fitting_level(source.heatmap.positive)
    enlarge = max(1, min(CELL_PX, MOST_PX // max(values.shape)))
    rgba = render(values, Style(colormap)).repeat(enlarge, 0).repeat(enlarge, 1)
    px0 = [cell0 * shrink / enlarge for cell0 in source.heatmap.cell0]
    where = {"origin0": source.heatmap.bounds0[:2], "px0": px0}
    text = {key: f"{x:.12g} {y:.12g}" for key, (x, y) in where.items()}
    return _save(rgba, path, _about(source) | text, DRAWN)


def write_overlay(
    source: ExportSource,
    path: Path,
    *,
    colormap: str = COLORMAPS[0],
    alpha: float = OVERLAY_ALPHA,
    fade: float = OVERLAY_FADE,
    outline: bool = True,
) -> Path:
    """RGB PNG of draw_overlay(). Raises InvalidOption where the source has no overview."""
    picture = draw_overlay(source, Style(colormap, alpha=alpha, fade=fade), outline=outline)
    return _save(picture, path, _about(source), PHOTO)


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
    heatmap = source.heatmap
    if source.overview is None:
        raise InvalidOption(
            f"{source.slide.name}: an overlay needs the slide's overview, and this result has none;"
            " make it again from the slide"
        )
    em = font_px(Size(most_px, most_px))
    most = Size(most_px - 2 * em, most_px - 12 * em)
    panel = plan_panel(heatmap, source.overview.mpp, most)
    line_px = max(1, round(max(panel.size) / 1000)) if outline else 0
    picture = draw_panel(heatmap, source.overview, panel, style, line_px)
    if marks0:
        xy = (np.asarray(marks0) - heatmap.bounds0[:2]) / panel.px0
        picture = draw_numbers(picture, xy)
    legend = Legend(
        title=source.slide.name,
        subtitle=_subtitle(source),
        bar_label=f"probability of {heatmap.positive_class}",
        style=style,
        threshold=heatmap.threshold,
        mpp=panel.mpp,
    )
    return frame_picture(picture, legend)


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


def _save(
    pixels: NDArray[np.uint8], path: Path, text: Mapping[str, str], settings: Mapping[str, int]
) -> Path:
    """`text`: chunks of the file."""
    import imagecodecs

    encoded = imagecodecs.png_encode(np.ascontiguousarray(pixels), **settings)
    chunks = b"".join(_text_chunk(key, value) for key, value in text.items())
    with partial_file(path) as partial:
        partial.write_bytes(encoded[:HEADER_BYTES] + chunks + encoded[HEADER_BYTES:])
    return path


HEADER_BYTES = 33  # signature and IHDR, which has to be the first chunk


def _text_chunk(key: str, value: str) -> bytes:
    """An iTXt chunk: uncompressed UTF-8, no language."""
    body = b"iTXt" + key.encode("latin-1") + bytes(5) + value.encode()
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
