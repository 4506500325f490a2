"""A network on a device as a classifier."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.calibration import calibrated
from models.card import ModelCard, file_sha256
from models.checkpoint import load_weights
from models.errors import DeviceError, ModelError, WeightsError
from models.registry import build, is_torchscript
from models.speed.forms import shape_network, split_batch
from models.speed.lanes import Lanes, lane_count
from models.speed.tuning import Tuning

__all__ = ["PRECISIONS", "TorchClassifier", "choose_device", "device_name", "load_network"]

PRECISIONS = ("auto", "float32", "bfloat16", "float16")

# Pixels of a batch, and its most tiles: on a CPU the activations of more leave the cache; a GPU
# needs that many to be busy.
BATCH_PX = {"cpu": 128 * 50 * 50, "cuda": 128 * 256 * 256, "mps": 32 * 256 * 256}
BATCH_TILES = {"cpu": 128, "cuda": 1024, "mps": 256}
LEAST_BATCH = 8

logger = logging.getLogger(__name__)


class TorchClassifier:
    """uint8 tiles go to the device as they are; it resizes, normalises and classifies.

    On a CPU each core computes a batch of its own, of no more tiles than it computes fastest. The
    last batch is padded, on a CPU to a multiple of 8, else to the size of the others, so that every
    tile is computed alike. With float32 a probability differs by less than 1e-5 between batch
    sizes. Memory that runs out halves the batch.
    """

    def __init__(
        self,
        card: ModelCard,
        network: nn.Module,
        device: str = "auto",
        *,
        batch_size: int | None = None,
        precision: str = "auto",
        tuning: Tuning | None = None,
        lanes: int | None = None,
    ) -> None:
        """batch_size: tiles of a batch, at most; lanes: batches side by side. None chooses."""
        self.card = card
        self._device = choose_device(device)
        self._tuning = _fitting(tuning, precision)
        chosen = self._tuning.precision if self._tuning and precision == "auto" else precision
        self._dtype = choose_dtype(chosen, self._device)
        if batch_size is not None and batch_size < 1:
            raise ModelError(f"batch size {batch_size}: use 1 or more")
        best = self._tuning.batch_size if self._tuning else default_batch(card, self._device)
        asked = batch_size or best
        # larger batches keep a GPU busy; on a CPU they are slower
        self._tiles = min(asked, best) if self._device.type == "cpu" else asked
        self._network, self._form = shape_network(
            network, card.input_px, self._device, self._dtype, self._tiles, self._tuning
        )
        self._lanes = Lanes(lanes or lane_count(self._device, self._form))
        mean, std = torch.tensor(card.mean), torch.tensor(card.std)
        self._scale = (1 / (255 * std)).view(3, 1, 1).to(self._device)
        self._shift = (-mean / std).view(3, 1, 1).to(self._device)

    @property
    def batch_size(self) -> int:
        return self._tiles * self._lanes.count

    @property
    def device(self) -> str:
        precision = "int8" if self._form == "int8" else str(self._dtype).removeprefix("torch.")
        form = "" if self._form in ("plain", "int8") else f", {self._form}"
        tuned = f", tuned {self._tuning.measured}" if self._tuning else ""
        return f"{self._device}, {precision}{form}{tuned}"

    def predict(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        return calibrated(self.card, self.predict_raw(rgb))

    def predict_raw(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Classifier.predict_raw; DeviceError where not even one tile fits the device."""
        self.card.require_tiles(rgb)
        while (prob := self._attempt(rgb)) is None:
            self._halve()
        if not np.isfinite(prob).all():
            raise ModelError(
                f"{self.card.name} answers with numbers that are not finite on {self.device}; "
                "use precision float32, or check its weights"
            )
        return prob

    def close(self) -> None:
        self._lanes.close()
        self._network = nn.Identity()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _attempt(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        """None where the device's memory ran out; left here, so that what failed is freed."""
        parts = split_batch(len(rgb), self._tiles, self._lanes.count, self._form, self._device)
        try:
            # all are queued before the first is fetched: a GPU never waits for the host
            queued = self._lanes.map(lambda part: self._launch(rgb[part.tiles], part.count), parts)
            prob = [one.cpu().numpy() for one in queued]
        except torch.OutOfMemoryError:
            return None
        empty = np.empty((0, self._width), np.float32)
        return np.concatenate([empty, *prob])

    @torch.inference_mode()
    def _launch(self, rgb: NDArray[np.uint8], count: int) -> Tensor:
        """One batch, filled up to `count` → float32 (n, classes), on the device, maybe not yet
        done."""
        on_gpu = self._device.type == "cuda"
        # pinned blocks come back from torch's cache once their copy is over
        staged = torch.empty((count, *rgb.shape[1:]), dtype=torch.uint8, pin_memory=on_gpu)
        staged[len(rgb) :] = 0
        staged.numpy()[: len(rgb)] = rgb
        outputs = self._network(self._prepare(staged.to(self._device, non_blocking=on_gpu)))
        if outputs.shape != (count, self._width):
            raise WeightsError(
                f"{self.card.name} answers with shape {tuple(outputs.shape)} to "
                f"{count} tiles, but its card has {len(self.card.classes)} classes"
            )
        return self._finish(outputs.float())[: len(rgb)]

    @property
    def _width(self) -> int:
        """Numbers that it answers a tile with."""
        return len(self.card.classes)

    def _finish(self, outputs: Tensor) -> Tensor:
        """float32 (n, width) of the network → what predict_raw() returns."""
        return self._activate(outputs)

    def _prepare(self, rgb: Tensor) -> Tensor:
        """uint8 (n, h, w, 3) → normalised (n, 3, side, side), channels last in memory."""
        pixels = rgb.permute(0, 3, 1, 2).float()
        if self.card.input_px != self.card.tile_px:
            side = (self.card.input_px, self.card.input_px)
            pixels = functional.interpolate(pixels, side, mode="bilinear", antialias=True)
        return torch.addcmul(self._shift, pixels, self._scale).to(self._dtype)

    def _activate(self, logits: Tensor) -> Tensor:
        return logits.softmax(1) if self.card.activation == "softmax" else logits.sigmoid()

    def _halve(self) -> None:
        if self._tiles == 1:
            raise DeviceError(
                f"{self._device} has not enough memory for one tile of {self.card.name}; "
                "use --device cpu"
            )
        self._tiles //= 2
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        logger.warning(
            "model %s: out of memory on %s, batch size now %d",
            self.card.name,
            self._device,
            self._tiles,
        )


def load_network(card: ModelCard, weights: Path) -> nn.Module:
    """With its weights, on the CPU; batch norms of our own networks folded into convolutions."""
    if is_torchscript(weights):
        return _load_torchscript(card, weights)
    # torch.fx's own folding: 8 % less processor time on AVX2 (50 px; median of 16 pairs), and
    # probabilities equal to 1e-6
    from torch.fx.experimental.optimization import fuse

    network = build(card.architecture, len(card.classes)).eval()
    load_weights(network, weights, card.weights_sha256, card.classes)
    folded: nn.Module = fuse(network)
    return folded


def choose_device(name: str = "auto") -> torch.device:
    """auto: CUDA, else MPS, else CPU. Raises DeviceError, which says what is there."""
    there = _devices()
    best = next(device for device in ("cuda:0", "mps", "cpu") if device in there)
    chosen = {"auto": best, "cuda": "cuda:0"}.get(name, name)
    if chosen not in there:
        raise DeviceError(f"there is no device {name!r} here; use auto or {', '.join(there)}")
    return torch.device(chosen)


def _devices() -> list[str]:
    mps = ["mps"] if torch.backends.mps.is_available() else []
    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return ["cpu", *mps, *cuda]


def has_bfloat16(device: torch.device) -> bool:
    """True where bfloat16 is arithmetic of the processor; emulated it is slower (AVX2: 6 times)."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    if precision not in PRECISIONS:
        raise DeviceError(f"precision {precision!r}: use {', '.join(PRECISIONS)}")
    if precision == "auto":
        return torch.bfloat16 if has_bfloat16(device) else torch.float32
    dtype: torch.dtype = getattr(torch, precision)
    if dtype == torch.float16 and device.type == "cpu":
        raise DeviceError(
            "precision float16: a CPU has no such arithmetic; use float32 or bfloat16"
        )
    return dtype


def device_name(device: torch.device) -> str:
    """cpu, mps, or a GPU's own name: what a tuning was measured on."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _fitting(tuning: Tuning | None, precision: str) -> Tuning | None:
    """A precision that somebody asked for overrides what was tuned for another one."""
    asked_for_another = tuning is not None and precision not in ("auto", tuning.precision)
    return None if asked_for_another else tuning


def default_batch(card: ModelCard, device: torch.device) -> int:
    return fitting_batch(max(card.tile_px, card.input_px), device.type)


def fitting_batch(side_px: int, device: str) -> int:
    """Tiles of that side that a kind of device, cpu, cuda or mps, computes fastest at once."""
    fitting = BATCH_PX[device] // side_px**2
    return max(LEAST_BATCH, min(BATCH_TILES[device], fitting))


def _load_torchscript(card: ModelCard, weights: Path) -> nn.Module:
    """Runs what is in the file: the caller has been asked."""
    if file_sha256(weights) != card.weights_sha256:
        raise WeightsError(f"{weights} is not the file that its card pins; copy it again")
    try:
        with warnings.catch_warnings():
            # torch points at torch.export, in which WSInfer's models do not exist
            warnings.simplefilter("ignore", FutureWarning)
            network: nn.Module = torch.jit.load(str(weights), map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        raise WeightsError(f"{weights} is no whole TorchScript file; copy it again") from error
    return network
