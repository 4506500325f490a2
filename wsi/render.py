"""Arrays to pictures: colour maps, range, threshold, transparency, PNG, JPEG and WebP bytes.

NumPy and Pillow do the work; matplotlib is asked once for each colour map's table.
"""

import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from wsi.errors import InvalidOption

__all__ = ["COLORMAPS", "FORMATS", "Style", "blend", "colormap", "encode", "render"]

COLORMAPS = ("viridis", "inferno", "magma", "plasma", "cividis", "turbo", "gray", "coolwarm")
"""All but turbo change evenly in lightness or about a middle and are told apart without colour
vision; turbo is there because it is asked for. The first is the default: its greens and yellows are
not found in tissue stained with haematoxylin and eosin."""

FORMATS = ("png", "jpeg", "webp")


LEAST_RANGE = 1e-6
"""From a style's vmin to its vmax: float32 near 1 has steps of 6e-8, and a colour map has 256."""


@dataclass(frozen=True)
class Style:
    """How values become colours. Raises InvalidOption."""

    colormap: str = COLORMAPS[0]
    vmin: float = 0.0  # has the map's first colour, as has all below it
    vmax: float = 1.0  # has the map's last colour, as has all above it
    threshold: float | None = None  # values below it are not shown
    alpha: float = 1.0  # opacity, 0 to 1
    fade: float = 1.0  # opacity at vmin as a part of alpha; rises evenly to alpha at vmax

    def __post_init__(self) -> None:
        if self.colormap not in COLORMAPS:
            raise InvalidOption(f"colormap {self.colormap!r}: use one of {', '.join(COLORMAPS)}")
        if not LEAST_RANGE <= self.vmax - self.vmin < np.inf:
            raise InvalidOption(
                f"range {self.vmin} to {self.vmax}: use two numbers, the smaller first, "
                f"at least {LEAST_RANGE:g} apart"
            )
        for name in ("alpha", "fade"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidOption(f"{name} {getattr(self, name)}: use 0 to 1")


@lru_cache(maxsize=len(COLORMAPS))
def colormap(name: str) -> NDArray[np.uint8]:
    """The table of a map in COLORMAPS: uint8 (256, 3), read-only."""
    from matplotlib import colormaps

    table = np.asarray(colormaps[Style(name).colormap](np.arange(256), bytes=True)[:, :3])
    table.flags.writeable = False
    return table


def render(values: NDArray[np.floating], style: Style = Style()) -> NDArray[np.uint8]:
    """Values (height, width) to RGBA uint8 (height, width, 4).

    The range is cut into 256 equal steps. NaN and what is below the threshold is transparent.
    """
    scale = 256 / (style.vmax - style.vmin)
    shown = ~np.isnan(values) if style.threshold is None else values >= style.threshold
    # the bounds first: infinities have no integer, NaN is replaced by what is never shown
    inside = np.clip(np.where(shown, values, style.vmin), style.vmin, style.vmax)
    step = np.minimum((inside - style.vmin) * scale, 255).astype(np.uint16)
    return _table(style)[np.where(shown, step, 256)]


@lru_cache(maxsize=64)
def _table(style: Style) -> NDArray[np.uint8]:
    """RGBA of the 256 steps, and transparent black for what is not shown: uint8 (257, 4)."""
    table = np.zeros((257, 4), np.uint8)
    table[:256, :3] = colormap(style.colormap)
    alpha = 255 * style.alpha * np.linspace(style.fade, 1, 256)
    table[:256, 3] = np.floor(alpha + 0.5)
    return table


def blend(rgb: NDArray[np.uint8], rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`rgba` (height, width, 4) over `rgb` (height, width, 3): uint8 (height, width, 3), rounded
    to the nearest. One row of `rgba` does for all rows of `rgb`.
    """
    # 255 * 255 + 127 fits uint16; three equal columns of alpha, so that no inner loop is 3 long
    alpha = rgba[..., 3:].astype(np.uint16).repeat(3, axis=-1)
    mixed = rgb * (255 - alpha)
    mixed += rgba[..., :3] * alpha + np.uint16(127)
    mixed //= 255
    return mixed.astype(np.uint8)


def encode(pixels: NDArray[np.uint8], format: str = "png", *, quality: int = 85) -> bytes:
    """uint8 (height, width, 3 or 4) as a file's bytes; a key of FORMATS.

    WebP of four channels is lossless, since colours beside a sharp border would bleed; JPEG has no
    transparency and shows white instead. Raises InvalidOption.
    """
    from PIL import Image

    if format not in FORMATS:
        raise InvalidOption(f"picture format {format!r}: use one of {', '.join(FORMATS)}")
    if not 1 <= quality <= 100:
        raise InvalidOption(f"quality {quality}: use 1 to 100")
    if format == "jpeg" and pixels.shape[2] == 4:
        pixels = blend(np.full_like(pixels[..., :3], 255), pixels)
    options: dict[str, object] = {
        "png": {"compress_level": 6},
        "jpeg": {"quality": quality, "subsampling": 0 if quality >= 90 else 2},
        "webp": {"quality": quality, "lossless": pixels.shape[2] == 4, "method": 2},
    }[format]
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(out, format, **options)
    return out.getvalue()
