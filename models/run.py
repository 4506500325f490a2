"""A training run: network, optimizer and averaged weights, which stop and go on together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.augment import augment
from models.datasets import TileSet
from models.errors import WeightsError
from models.recipe import TrainConfig
from wsi.store.folder import partial_file

__all__ = ["Run", "Weights"]

Weights = dict[str, Tensor]
BATCH_TO_VALIDATE = 128
STEPS_TO_WARM_AVERAGE = 10


class Run:
    """Every random number is drawn from (seed, epoch, step): no generator's state to keep.

    network: on its device already. average: an exponential moving average of its weights and
    of its batch-norm statistics.
    """

    def __init__(self, network: nn.Module, config: TrainConfig) -> None:
        self.network = network.to(memory_format=torch.channels_last)
        self.config = config
        self.optimizer = _make_optimizer(network, config)
        self.average: Weights = {
            name: value.detach().clone() for name, value in network.state_dict().items()
        }
        self.steps = 0
        device = next(network.parameters()).device
        self._mean = torch.tensor(config.mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(config.std, device=device).view(1, 3, 1, 1)

    def step(
        self,
        rgb: npt.NDArray[np.uint8],
        label: npt.NDArray[np.int64],
        epoch: int,
        step: int,
        rate: float,
    ) -> float:
        """One batch, uint8 (n, h, w, 3), at a learning rate; returns its loss."""
        pixels, target = self._prepare(rgb, label, epoch, step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.network.train()
        loss = functional.cross_entropy(
            self.network(pixels), target, label_smoothing=self.config.label_smoothing
        )
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self._update_average()
        return float(loss.detach())

    def score(self, tiles: TileSet) -> npt.NDArray[np.float32]:
        """Uncalibrated probability of class 1 by the averaged weights, float32 (n,)."""
        current = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.network.load_state_dict(self.average)
        self.network.eval()
        with torch.inference_mode():
            scores = [
                self.network(self._normalise(torch.from_numpy(rgb).permute(0, 3, 1, 2) / 255))
                for rgb in _slices(tiles.rgb)
            ]
        self.network.load_state_dict(current)
        return np.asarray(torch.cat(scores).softmax(1)[:, 1].cpu().numpy())

    def save(self, path: Path, epoch: int) -> None:
        """epoch: how many are done."""
        from safetensors.torch import save_file

        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.items()}
        for name, parameter in self.network.named_parameters():
            tensors[f"momentum.{name}"] = self.optimizer.state[parameter]["momentum_buffer"]
        progress = {
            "epoch": str(epoch),
            "steps": str(self.steps),
            "recipe": self.config.to_json(),
        }
        whole = {name: value.contiguous() for name, value in tensors.items()}
        with partial_file(path) as partial:
            save_file(whole, partial, progress)

    def resume(self, path: Path) -> int:
        """How many epochs are done: none where there is no file.

        Raises WeightsError where the file is of another recipe, or damaged.
        """
        from safetensors import SafetensorError, safe_open

        if not path.is_file():
            return 0
        try:
            with safe_open(path, "pt") as stored:
                progress = stored.metadata() or {}
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise WeightsError(f"{path} is damaged ({error}); remove it to start anew") from error
        if progress.get("recipe") != self.config.to_json():
            raise WeightsError(f"{path} is of another recipe; train into another folder")
        self._restore(tensors)
        self.steps = int(progress["steps"])
        return int(progress["epoch"])

    def _restore(self, tensors: Weights) -> None:
        self.network.load_state_dict(_below("network.", tensors))
        for name, value in _below("average.", tensors).items():
            self.average[name].copy_(value)
        momentum = _below("momentum.", tensors)
        for name, parameter in self.network.named_parameters():
            buffer = torch.empty_like(parameter).copy_(momentum[name]).detach()
            self.optimizer.state[parameter]["momentum_buffer"] = buffer

    def _prepare(
        self, rgb: npt.NDArray[np.uint8], label: npt.NDArray[np.int64], epoch: int, step: int
    ) -> tuple[Tensor, Tensor]:
        """Augmented and mixed pixels, normalised, and the soft target (n, classes)."""
        config = self.config
        rng = np.random.default_rng([config.seed, epoch, step])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        pixels, learned = augment(
            torch.from_numpy(rgb),
            torch.from_numpy(label),
            config.crop_px(epoch),
            config.augment,
            generator,
        )
        target = functional.one_hot(learned, len(config.classes)).float()
        if config.mixup:
            share = float(rng.beta(config.mixup, config.mixup))
            order = torch.randperm(len(pixels), generator=generator)
            pixels = torch.lerp(pixels[order], pixels, share)
            target = torch.lerp(target[order], target, share)
        return self._normalise(pixels), target.to(self._mean.device)

    def _normalise(self, pixels: Tensor) -> Tensor:
        normal = (pixels.to(self._mean.device) - self._mean) / self._std
        return normal.contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def _update_average(self) -> None:
        self.steps += 1
        decay = min(self.config.ema, self.steps / (self.steps + STEPS_TO_WARM_AVERAGE))
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)


def _make_optimizer(network: nn.Module, config: TrainConfig) -> torch.optim.SGD:
    """Weight decay on the convolutions and the head alone, not on biases and batch norms."""
    parameters = list(network.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, nesterov=True)


def _slices(rgb: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.uint8]]:
    return [rgb[i : i + BATCH_TO_VALIDATE] for i in range(0, len(rgb), BATCH_TO_VALIDATE)]


def _below(prefix: str, tensors: Weights) -> Weights:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
