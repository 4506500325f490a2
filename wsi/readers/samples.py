"""Samples as a file stores them, to 8-bit RGB."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi.slide import RGB

__all__ = ["flatten_alpha", "rgb_from_samples"]


def rgb_from_samples(
    samples: NDArray[Any], background: RGB, *, inverted: bool = False
) -> NDArray[np.uint8]:
    """uint8 or uint16 (height, width, 1 to 4) to uint8 (height, width, 3), in an array of its own.

    One sample is grey, two are grey and alpha, four RGB and alpha (not premultiplied). 16 bits are
    scaled, not cut: 65535 becomes 255. `inverted`: 0 is white.
    """
    eight = _eight_bits(samples)
    colours = eight[..., : 1 if eight.shape[2] < 3 else 3]
    if inverted:
        colours = 255 - colours
    if colours.shape[2] == 1:
        rgb = _rgb_from_grey(colours[..., 0])
    else:
        rgb = np.require(colours, requirements=["C", "W", "O"])
    if eight.shape[2] in (2, 4):
        flatten_alpha(rgb, eight[..., -1], background)
    return rgb


def flatten_alpha(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], background: RGB) -> None:
    """Lay `rgb` over the background, in place; rounded to the nearest."""
    clear = alpha != 255
    if not clear.any():
        return
    part = alpha[clear].astype(np.uint32)[:, None]
    over = rgb[clear] * part + np.array(background, np.uint32) * (255 - part)
    rgb[clear] = ((over + 127) // 255).astype(np.uint8)


def _rgb_from_grey(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import cv2  # ten times as fast as NumPy at this

    return cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB).astype(np.uint8, copy=False)


def _eight_bits(samples: NDArray[Any]) -> NDArray[np.uint8]:
    if samples.dtype == np.uint8:
        return samples
    return ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)
