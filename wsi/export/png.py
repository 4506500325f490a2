"""Pictures: the bare heatmap, and the heatmap on the slide with its legend; as PNG files."""

import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
    rgba = render(values, Style(colormap)).repeat(enlarge, 0).repeat(enlarge, 1)
    px0 = [cell0 * shrink / enlarge for cell0 in source.heatmap.cell0]
    where = {"origin0": source.heatmap.bounds0[:2], "px0": px0}
    text = {key: f"{x:.12g} {y:.12g}" for key, (x, y) in where.items()}
    return save_png(rgba, path, _about(source) | text)


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
    return save_png(picture, path, _about(source))


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


def save_png(pixels: NDArray[np.uint8], path: Path, text: Mapping[str, str] | None = None) -> Path:
    """uint8 (height, width), or with 3 (RGB) or 4 (RGBA) channels, whole or not at all.

    `text`: chunks of the file.
    """
    with partial_file(path) as partial:
        partial.write_bytes(_encoded(pixels, text or {}))
    return path


def _encoded(pixels: NDArray[np.uint8], text: Mapping[str, str]) -> bytes:
    """Each row as its difference to the one above, packed by libdeflate: a picture of tissue of
    1,250 x 1,250 px takes 26 ms and 1.81 MB, libpng at its fastest 38 ms and 1.81 MB."""
    import imagecodecs

    pack: Any = imagecodecs.deflate_encode  # arrays are not in its annotations
    height, width = pixels.shape[:2]
    flat = pixels.reshape(height, -1)
    rows = np.empty((height, 1 + flat.shape[1]), np.uint8)
    rows[:, 0], rows[:1, 1:] = FILTER_UP, flat[:1]
    np.subtract(flat[1:], flat[:-1], out=rows[1:, 1:])
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    header = struct.pack(">IIBBBBB", width, height, 8, COLOUR_TYPES[channels], 0, 0, 0)
    chunks = [_chunk(b"IHDR", header)]
    chunks += [_text_chunk(key, value) for key, value in text.items()]
    chunks += [_chunk(b"IDAT", pack(rows, level=1)), _chunk(b"IEND", b"")]
    return b"".join([SIGNATURE, *chunks])


SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR_TYPES = {1: 0, 3: 2, 4: 6}  # of a PNG, by channels: grey, RGB, RGBA
FILTER_UP = 2


def _text_chunk(key: str, value: str) -> bytes:
    """An iTXt chunk: uncompressed UTF-8, no language."""
    return _chunk(b"iTXt", key.encode("latin-1") + bytes(5) + value.encode())


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
