"""Tiles as they come from a store → what a network takes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from models.recipe import TrainConfig
from models.training.augment import AugmentConfig, augment

__all__ = ["Feed"]

UInt8Array = npt.NDArray[np.uint8]


class Feed:
    """Everything happens on the device: what travels there is uint8."""

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        self._config = config
        self._device = device
        self._mean = torch.tensor(config.mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(config.std, device=device).view(1, 3, 1, 1)

    def augmented(
        self,
        rgb: UInt8Array,
        label: npt.NDArray[np.int64],
        crop_px: int,
        generator: torch.Generator,
        changes: AugmentConfig | None = None,
    ) -> tuple[Tensor, Tensor]:
        """uint8 (n, h, w, 3) → pixels in 0..1, float (n, 3, side, side), and labels (n,)."""
        pixels, learned = augment(
            torch.from_numpy(rgb).to(self._device),
            torch.from_numpy(label).to(self._device),
            crop_px,
            changes or self._config.augment,
            generator,
            blank_label=self._config.blank_label,
        )
        return self._resized(pixels), learned

    def normalised(self, pixels: Tensor) -> Tensor:
        """As the network takes them: mean 0, deviation 1, channels last in memory."""
        normal = (pixels - self._mean) / self._std
        return normal.contiguous(memory_format=torch.channels_last)

    def plain(self, rgb: UInt8Array) -> Tensor:
        """uint8 (n, h, w, 3) → what the network takes, unchanged but for its size."""
        pixels = torch.from_numpy(rgb).to(self._device).permute(0, 3, 1, 2) / 255
        return self.normalised(self._resized(pixels))

    def _resized(self, pixels: Tensor) -> Tensor:
        side = self._config.input_px
        if side in (0, pixels.shape[-1]):
            return pixels
        return functional.interpolate(pixels, (side, side), mode="bilinear", antialias=True)
