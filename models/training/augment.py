"""Random changes of a batch of tiles that leave its labels true.

Everything works on whole batches on the batch's device. Every draw comes from the generator that
is passed, on the CPU, so that a step can be repeated exactly, and alike on every device.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from models.training.fields import check_fields

__all__ = ["AugmentConfig", "augment"]

# Optical densities of hematoxylin, eosin and DAB: Ruifrok & Johnston 2001, Anal Quant Cytol Histol
# 23:291, as scikit-image normalises them.
STAINS = torch.tensor([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
BLUR = torch.tensor([1.0, 2.0, 1.0])
RANGES = {
    "stain_scale": (0, 10),
    "stain_shift": (0, 10),
    "brightness": (0, 10),
    "contrast": (0, 10),
    "blur": (0, 1),
    "colours": (0, 1),
    "warp": (0, 1),
    "scale": (0, 0.99),
    "white": (0, 1),
    "blank": (0, 1),
}


@dataclass(frozen=True)
class AugmentConfig:
    """stain_scale, stain_shift: sigma of the factor on, and of the amount added to, each stain.
    brightness, contrast: sigma, pixels in 0..1. blur: largest share of a 3x3 binomial blur mixed
    in; half of it is taken away to sharpen. colours: share of tiles that any of these change; the
    rest keep theirs. warp: share of tiles turned by any angle and scaled.
    scale: largest relative change of scale. white: share of tiles that lose a side to white.
    blank: share of tiles replaced by empty background. blank_class: what that is; by default the
    first of two classes, if the other one is the positive class.
    """

    stain_scale: float = 0.2
    stain_shift: float = 0.02
    brightness: float = 0.04
    contrast: float = 0.1
    blur: float = 0.7
    colours: float = 1.0
    warp: float = 0.25
    scale: float = 0.15
    white: float = 0.03
    blank: float = 0.01
    blank_class: str = ""

    def __post_init__(self) -> None:
        check_fields(self, RANGES, "augment")


def augment(
    rgb: Tensor,
    label: Tensor,
    crop_px: int,
    config: AugmentConfig,
    generator: torch.Generator,
    *,
    blank_label: int = 0,
) -> tuple[Tensor, Tensor]:
    """uint8 (n, h, w, 3) → float (n, 3, crop_px, crop_px) in 0..1, and the labels to learn.

    blank_label: of empty background.
    """
    pixels = rgb.permute(0, 3, 1, 2).float() / 255
    pixels = _cover_side(pixels, config.white, generator)
    pixels, label = _blank(pixels, label, config.blank, blank_label, generator)
    pixels = _turn(pixels, generator)
    pixels = _warp(pixels, config, generator)
    pixels = _crop(pixels, crop_px, generator)
    return _recolour(pixels, config, generator).clamp_(0, 1), label


def _uniform(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """One number for each tile, 0..1."""
    return torch.rand(len(pixels), generator=generator).to(pixels.device)


def _normal(pixels: Tensor, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator).to(pixels.device)


def _cover_side(pixels: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """As on the rim of a slide. At most 60 % of the side: the label stays true of the rest."""
    height = pixels.shape[2]
    chosen = _uniform(pixels, generator) < share
    kept = (height * (0.4 + 0.6 * _uniform(pixels, generator))).long()
    kept = torch.where(chosen, kept, height)
    covered = torch.arange(height, device=pixels.device)[None] >= kept[:, None]
    return pixels.masked_fill(covered[:, None, :, None], 1.0)


def _blank(
    pixels: Tensor, label: Tensor, share: float, blank_label: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Empty glass is no tumour, a thing that tiles with tissue never say."""
    if not share:  # its grain is as many random numbers as the batch has pixels
        return pixels, label
    chosen = _uniform(pixels, generator) < share
    glass = 1 - 0.12 * torch.rand((len(pixels), 3, 1, 1), generator=generator).to(pixels.device)
    grain = 0.01 * _normal(pixels, tuple(pixels.shape), generator)
    pixels = torch.where(chosen[:, None, None, None], glass + grain, pixels)
    return pixels, label.masked_fill(chosen, blank_label)


def _turn(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """One of the eight symmetries of the square for each tile."""
    which = torch.randint(0, 8, (len(pixels),), generator=generator).to(pixels.device)
    turned = torch.empty_like(pixels)
    for symmetry in range(8):
        chosen = which == symmetry
        part = torch.rot90(pixels[chosen], symmetry % 4, (2, 3))
        turned[chosen] = part.flip(3) if symmetry >= 4 else part
    return turned


def _warp(pixels: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Any angle and a scale around 1, for a share of the tiles; the rest stays unresampled."""
    chosen = torch.nonzero(_uniform(pixels, generator) < config.warp)[:, 0]
    if len(chosen) == 0:
        return pixels
    part = pixels[chosen]
    angle = 2 * torch.pi * _uniform(part, generator)
    zoom = 1 + config.scale * (2 * _uniform(part, generator) - 1)
    cos, sin, zero = angle.cos() * zoom, angle.sin() * zoom, torch.zeros_like(angle)
    theta = torch.stack([cos, -sin, zero, sin, cos, zero], 1).view(-1, 2, 3)
    grid = functional.affine_grid(theta, list(part.shape), align_corners=False)
    warped = functional.grid_sample(part, grid, padding_mode="reflection", align_corners=False)
    return pixels.index_copy(0, chosen, warped)


def _crop(pixels: Tensor, crop_px: int, generator: torch.Generator) -> Tensor:
    n, _, height, width = pixels.shape
    top = (_uniform(pixels, generator) * (height - crop_px + 1)).long()
    left = (_uniform(pixels, generator) * (width - crop_px + 1)).long()
    along = torch.arange(crop_px, device=pixels.device)
    rows = (top[:, None] + along)[:, :, None]
    columns = (left[:, None] + along)[:, None, :]
    each = torch.arange(n, device=pixels.device)[:, None, None]
    return pixels.permute(0, 2, 3, 1)[each, rows, columns].permute(0, 3, 1, 2)


def _recolour(pixels: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Tiles that keep their colours are how slides look that are like those of training."""
    if config.colours < 1:
        chosen = torch.nonzero(_uniform(pixels, generator) < config.colours)[:, 0]
        if len(chosen) == 0:
            return pixels
        every = replace(config, colours=1.0)
        return pixels.index_copy(0, chosen, _recolour(pixels[chosen], every, generator))
    pixels = _stain(pixels, config, generator)
    pixels = _blur(pixels, config.blur, generator)
    return _expose(pixels, config, generator)


def _stain(pixels: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Scales and shifts each stain in optical density (Tellez et al. 2018, IEEE TMI 37:2126)."""
    n = len(pixels)
    stains = functional.normalize(STAINS, dim=1).to(pixels.device)
    scale = 1 + config.stain_scale * _normal(pixels, (n, 3), generator)
    shift = config.stain_shift * _normal(pixels, (n, 3), generator)
    mix = torch.linalg.inv(stains) @ (scale[:, :, None] * stains)
    density = -torch.log(pixels.clamp(min=1 / 255))
    density = torch.einsum("nchw,ncd->ndhw", density, mix) + (shift @ stains)[:, :, None, None]
    return torch.exp(-density)


def _blur(pixels: Tensor, most: float, generator: torch.Generator) -> Tensor:
    """Half of the tiles as they are, the others between sharpened and blurred."""
    amount = most * (1.5 * _uniform(pixels, generator) - 0.5) * (_uniform(pixels, generator) < 0.5)
    kernel = (torch.outer(BLUR, BLUR) / 16).to(pixels.device)
    padded = functional.pad(pixels, (1, 1, 1, 1), mode="replicate")
    blurred = functional.conv2d(padded, kernel.expand(3, 1, 3, 3), groups=3)
    return torch.lerp(pixels, blurred, amount[:, None, None, None])


def _expose(pixels: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    n = len(pixels)
    contrast = 1 + config.contrast * _normal(pixels, (n, 1, 1, 1), generator)
    brightness = config.brightness * _normal(pixels, (n, 1, 1, 1), generator)
    middle = pixels.mean((1, 2, 3), keepdim=True)
    return (pixels - middle) * contrast + middle + brightness
