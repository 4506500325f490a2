"""A network on its way down: weights, their average and the optimizer stop and go on together."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.errors import DatasetError, ModelError, WeightsError
from models.network import has_bfloat16
from models.recipe import TrainConfig
from models.training.filtering import filter_while_learning
from models.training.freezing import set_training
from models.training.parallel import Processes
from wsi.store.folder import partial_file

__all__ = ["Descent", "Weights", "ready_network"]

Weights = dict[str, Tensor]
STEPS_TO_WARM_AVERAGE = 10
PRECISIONS = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


class Descent:
    """average: an exponential moving average of the weights and of the batch-norm statistics.

    best: the averaged weights that were kept, if any were.
    """

    def __init__(self, network: nn.Module, config: TrainConfig, processes: Processes) -> None:
        self.network = ready_network(network, config.precision, processes.device)
        self.forward = processes.wrapped(network)
        self.config = config
        self.processes = processes
        self.steps = 0
        self.average = _copied(network)
        self.best: Weights = {}
        self._optimizer = _make_optimizer(network, config)
        self._dtype = _choose_dtype(config.precision, processes.device)
        needs_scale = self._dtype is torch.float16
        self._scaler = torch.amp.GradScaler(processes.device.type, enabled=needs_scale)

    @property
    def precision(self) -> str:
        """Of activations and gradients; weights and their average are float32."""
        return str(self._dtype).removeprefix("torch.")

    @contextmanager
    def forwarding(self) -> Iterator[nn.Module]:
        """The network as it learns; what is computed with it is in the recipe's precision."""
        set_training(self.network)
        with self._autocast():
            yield self.forward

    @contextmanager
    def averaged(self, weights: Weights | None = None) -> Iterator[nn.Module]:
        """The network with the averaged weights, or others, to score with; it gets its own back."""
        current = _copied(self.network)
        self.network.load_state_dict(self.average if weights is None else weights)
        self.network.eval()
        try:
            with torch.inference_mode(), self._autocast():
                yield self.network
        finally:
            self.network.load_state_dict(current)

    def step(self, loss: Tensor, rate: float) -> float:
        """One step down this loss at a learning rate; returns its value."""
        parameters = [p for group in self._optimizer.param_groups for p in group["params"]]
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad()
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if self.config.clip:
            self._scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(parameters, self.config.clip)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._update_average()
        return float(loss.detach())

    def keep(self) -> None:
        """Remembers the averaged weights as they are now."""
        self.best = {name: value.clone() for name, value in self.average.items()}

    @property
    def result(self) -> Weights:
        """The weights that training was for."""
        return self.best if self.best and self.config.keep == "best" else self.average

    def save(self, path: Path, progress: Mapping[str, Any]) -> None:
        """Whole or not at all: where the disk is full the last good state stays.

        progress: JSON of the caller's own. The first of several processes writes.
        """
        if not self.processes.is_first:
            return
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        written = {
            "recipe": self.config.to_json(),
            "steps": str(self.steps),
            "scaler": json.dumps(self._scaler.state_dict()),
            "progress": json.dumps(progress),
        }
        try:
            with partial_file(path) as partial:
                save_file(self._tensors(), partial, written)
        except (OSError, SafetensorError) as error:
            raise ModelError(
                f"{path}: the state of the training cannot be written ({error}); make room and "
                "run the same command again: it goes on from the last state that is whole"
            ) from error

    def resume(self, path: Path) -> dict[str, Any] | None:
        """What was given to save(); None where there is no file.

        Raises WeightsError where the file is of another recipe, or damaged.
        """
        from safetensors import SafetensorError, safe_open

        if not path.is_file():
            return None
        try:
            with safe_open(path, "pt") as stored:
                written = stored.metadata() or {}
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise WeightsError(f"{path} is damaged ({error}); remove it to start anew") from error
        if written.get("recipe") != self.config.to_json():
            raise WeightsError(f"{path} is of another recipe; train into another folder")
        self._restore(tensors)
        self.steps = int(written["steps"])
        self._scaler.load_state_dict(json.loads(written["scaler"]))
        progress: dict[str, Any] = json.loads(written["progress"])
        return progress

    def _tensors(self) -> Weights:
        named = {"network": self.network.state_dict(), "average": self.average, "best": self.best}
        for name, parameter in self.network.named_parameters():
            for key, value in self._optimizer.state.get(parameter, {}).items():
                named.setdefault(f"optimizer-{key}", {})[name] = value
        return {
            f"{kind}.{name}": value.detach().cpu().contiguous()
            for kind, weights in named.items()
            for name, value in weights.items()
        }

    def _restore(self, tensors: Weights) -> None:
        parameters = dict(self.network.named_parameters())
        self.network.load_state_dict(_below("network.", tensors))
        for name, value in _below("average.", tensors).items():
            self.average[name].copy_(value)
        self.best = {
            name: value.to(self.processes.device)
            for name, value in _below("best.", tensors).items()
        }
        for name, value in _below("optimizer-", tensors).items():
            key, _, of = name.partition(".")
            is_alike = value.shape == parameters[of].shape  # in memory order too; not a counter
            kept = torch.empty_like(parameters[of]).copy_(value).detach() if is_alike else value
            self._optimizer.state[parameters[of]][key] = kept

    def _autocast(self) -> torch.autocast:
        device = self.processes.device.type
        enabled = self._dtype is not torch.float32
        return torch.autocast(device, self._dtype if enabled else None, enabled=enabled)

    @torch.no_grad()
    def _update_average(self) -> None:
        self.steps += 1
        decay = min(self.config.ema, self.steps / (self.steps + STEPS_TO_WARM_AVERAGE))
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)


def ready_network(network: nn.Module, precision: str, device: torch.device) -> nn.Module:
    """The same network on its device, laid out as it computes fastest there."""
    if device.type == "cpu" and _choose_dtype(precision, device) is torch.float32:
        filter_while_learning(network)
    return network.to(device).to(memory_format=torch.channels_last)


def _choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    if precision != "auto":
        return PRECISIONS[precision]
    if has_bfloat16(device):
        return torch.bfloat16
    return torch.float16 if device.type == "cuda" else torch.float32


def _make_optimizer(network: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Of what learns. Weight decay on kernels and matrices, not on biases and norms."""
    learning = [p for p in network.parameters() if p.requires_grad]
    if not learning:
        raise DatasetError(
            f"recipe {config.name}: freeze = {config.freeze!r} leaves nothing to learn; use none"
        )
    groups = [
        {"params": [p for p in learning if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if config.optimizer == "adamw":
        betas = (config.momentum, 0.999)
        return torch.optim.AdamW(groups, lr=config.learning_rate, betas=betas)
    return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, nesterov=True)


def _copied(network: nn.Module) -> Weights:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _below(prefix: str, tensors: Weights) -> Weights:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
