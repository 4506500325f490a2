"""What is written around a picture: title, colour bar, scale bar, in fonts that come along."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wsi.export.strips import Strips
from wsi.geometry import Size
from wsi.render import Style, render

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

__all__ = [
    "NOTICE",
    "Frame",
    "Legend",
    "draw_numbers",
    "font_px",
    "frame_picture",
    "round_length_um",
]

NOTICE = "Research use only. Not a medical device, not for diagnosis."
INK, PALE = (25, 25, 30), (95, 95, 105)
WHITE = 255  # arrays are filled with one number at ten times the rate of three
PAPER = (WHITE, WHITE, WHITE)
LEAST_WIDTH_EM = 46  # below it title and bars have no room


@dataclass(frozen=True)
class Legend:
    title: str  # the slide's name: anything at all, shortened in its middle where it is too long
    subtitle: str
    bar_label: str
    style: Style
    threshold: float
    mpp: float  # of the picture, for the scale bar


class Frame:
    """The paper around a picture: title above, scale bar, colour bar and notice below; wider than
    the picture where it has to be, which then is in the middle."""

    def __init__(self, picture: Size, legend: Legend) -> None:
        self._legend = legend
        self._em = em = font_px(picture)
        self._inner = inner = max(picture.width, LEAST_WIDTH_EM * em)
        self._left = em + (inner - picture.width) // 2
        self._top, self._below = round(4.4 * em), round(7.6 * em)
        self.size = Size(inner + 2 * em, self._top + picture.height + self._below)

    def around(self, strips: Strips) -> Iterator[NDArray[np.uint8]]:
        """The strips of the picture, RGB, with theirs before, beside and after them; the picture's
        pixels are copied as they are."""
        yield self._head()
        for strip in strips:
            rows = np.full((len(strip), self.size.width, 3), WHITE, np.uint8)
            rows[:, self._left : self._left + strip.shape[1]] = strip
            yield rows
        yield self._foot()

    def _head(self) -> NDArray[np.uint8]:
        canvas, draw = self._paper(self._top)
        _draw_title(draw, self._legend, self._em, self._inner)
        return np.asarray(canvas)

    def _foot(self) -> NDArray[np.uint8]:
        em, inner, legend = self._em, self._inner, self._legend
        canvas, draw = self._paper(self._below)
        _draw_scale_bar(draw, legend.mpp, em, inner)
        _draw_color_bar(canvas, draw, legend, em, inner)
        draw.text((em, 7 * em), NOTICE, PALE, _font(round(0.8 * em)), anchor="ls")
        return np.asarray(canvas)

    def _paper(self, height: int) -> "tuple[Image, ImageDraw]":
        from PIL import Image, ImageDraw

        canvas = Image.new("RGB", (self.size.width, height), PAPER)
        return canvas, ImageDraw.Draw(canvas)


def frame_picture(picture: NDArray[np.uint8], legend: Legend) -> NDArray[np.uint8]:
    """The picture in its Frame: uint8 RGB."""
    frame = Frame(Size(picture.shape[1], picture.shape[0]), legend)
    return np.concatenate(list(frame.around([picture])))


def draw_numbers(picture: NDArray[np.uint8], xy: NDArray[np.float64]) -> NDArray[np.uint8]:
    """A copy with 1, 2 ... in discs at (n, 2) x, y of the picture; discs stay inside it, and the
    first is on top."""
    from PIL import Image, ImageDraw

    height, width = picture.shape[:2]
    em = font_px(Size(width, height))
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    for number, (x, y) in reversed(list(enumerate(xy.tolist(), 1))):
        center = (min(max(x, 0.8 * em), width - 0.8 * em), min(max(y, 0.8 * em), height - 0.8 * em))
        draw.circle(center, 0.75 * em, fill=PAPER, outline=INK, width=max(1, em // 10))
        draw.text(center, str(number), INK, _font(round(0.8 * em), bold=True), anchor="mm")
    return np.asarray(image)


def font_px(size: Size) -> int:
    """Letters keep about the same size when the picture is shown at a page's width."""
    return min(max(max(size) // 62, 15), 34)


def round_length_um(longest_um: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is not longer."""
    power = 10.0 ** math.floor(math.log10(longest_um))
    return max(m * power for m in (1, 2, 5) if m * power <= longest_um * (1 + 1e-9))


def length_label(um: float) -> str:
    return f"{um / 1000:g} mm" if um >= 1000 else f"{um:g} µm" if um >= 1 else f"{um * 1000:g} nm"


def _draw_title(draw: "ImageDraw", legend: Legend, em: int, inner: int) -> None:
    bold, plain = _font(round(1.15 * em), bold=True), _font(round(0.9 * em))
    draw.text((em, 1.85 * em), _shorten(legend.title, bold, inner), INK, bold, anchor="ls")
    draw.text((em, 3.45 * em), _shorten(legend.subtitle, plain, inner), PALE, plain, anchor="ls")


def _draw_scale_bar(draw: "ImageDraw", mpp: float, em: int, inner: int) -> None:
    """Left below the picture, at most a quarter as wide."""
    um = round_length_um(0.25 * inner * mpp)
    length = max(1, round(um / mpp))
    y, thick = round(2.6 * em), max(3, em // 4)
    draw.rectangle((em, y, em + length - 1, y + thick - 1), INK)
    draw.text((em, y + thick + 1.2 * em), length_label(um), INK, _font(round(0.9 * em)), "ls")


def _draw_color_bar(
    canvas: "Image", draw: "ImageDraw", legend: Legend, em: int, inner: int
) -> None:
    """Right below the picture: what the bar is of, its ticks, the threshold as a mark across."""
    from PIL import Image

    style, small = legend.style, _font(round(0.8 * em))
    width, height = round(0.5 * inner), em
    left, y = em + inner - width - em, round(2.6 * em)
    values = np.linspace(style.vmin, style.vmax, width)[None].repeat(height, 0)
    solid = render(values, Style(style.colormap, style.vmin, style.vmax))
    canvas.paste(Image.fromarray(solid[..., :3]), (left, y))
    for value in np.linspace(style.vmin, style.vmax, 6):
        x = left + (value - style.vmin) / (style.vmax - style.vmin) * (width - 1)
        draw.line((x, y + height, x, y + height + em // 4), INK, max(1, em // 12))
        draw.text((x, y + height + 1.2 * em), f"{value:.2g}", INK, small, "ms")
    label = _shorten(legend.bar_label, small, width)
    draw.text((left + width / 2, y + height + 2.3 * em), label, INK, small, "ms")
    if style.vmin <= legend.threshold <= style.vmax:
        part = (legend.threshold - style.vmin) / (style.vmax - style.vmin)
        _draw_mark(draw, left + part * (width - 1), y, em)
        text = f"threshold {legend.threshold:.3g}"
        half = small.getlength(text) / 2
        x = left + min(max(part * width, half), width - half)
        draw.text((x, y - 0.91 * em), text, INK, small, "ms")


def _draw_mark(draw: "ImageDraw", x: float, y: int, em: int) -> None:
    half = 0.35 * em
    draw.polygon([(x - half, y - 2 * half), (x + half, y - 2 * half), (x, y)], INK)
    draw.line((x, y, x, y + em - 1), PAPER, max(2, em // 8))


def _shorten(text: str, font: "FreeTypeFont", width: int) -> str:
    """Without line breaks and signs that the font lacks; "…" in the middle where it is too wide."""
    text = "".join(c if _has_glyph(c) else "\N{WHITE VERTICAL RECTANGLE}" for c in text)
    cut = text
    for kept in range(len(text), 1, -1):
        if font.getlength(cut) <= width:
            break
        cut = f"{text[: kept // 2]}…{text[-(kept - kept // 2 - 1) :]}"
    return cut


@cache
def _font_file(bold: bool) -> Path:
    import matplotlib as mpl

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return Path(mpl.get_data_path()) / "fonts" / "ttf" / name


@lru_cache(maxsize=32)
def _font(size_px: int, bold: bool = False) -> "FreeTypeFont":
    from PIL import ImageFont

    return ImageFont.truetype(_font_file(bold), size_px)


@lru_cache(maxsize=4096)
def _has_glyph(letter: str) -> bool:
    if not letter.isprintable():
        return False
    font = _font(16)
    return letter == " " or bytes(font.getmask(letter)) != bytes(font.getmask("\uffff"))
