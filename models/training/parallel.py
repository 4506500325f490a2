"""Several processes that train one network, a GPU each: what `torchrun` started."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import distributed, nn

from models.network import choose_device

__all__ = ["Processes", "is_first_process", "joined"]


@dataclass(frozen=True)
class Processes:
    """rank: which of `count` processes this one is; one alone is the first of one."""

    device: torch.device
    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Of all, it alone writes and speaks."""
        return self.rank == 0

    @property
    def device_name(self) -> str:
        """For the record of a run: what the GPU is called, or how many threads a CPU gives."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return f"{self.device}, {torch.get_num_threads()} threads"

    def share(self, index: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """This process's part of a batch."""
        return index[self.rank :: self.count]

    def wrapped(self, network: nn.Module) -> nn.Module:
        """One whose gradients are the mean over all processes."""
        if self.count == 1:
            return network
        return nn.parallel.DistributedDataParallel(network)

    def gathered(self, part: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The parts of all processes behind each other, in every process."""
        if self.count == 1:
            return part
        parts: list[npt.NDArray[np.float32]] = [part] * self.count
        distributed.all_gather_object(parts, part)
        return np.concatenate(parts)

    def share_first(self, weights: Mapping[str, torch.Tensor]) -> None:
        """In every process the values of the first, in place."""
        if self.count > 1:
            for value in weights.values():
                distributed.broadcast(value, 0)

    def wait(self) -> None:
        """Until all are here."""
        if self.count > 1:
            distributed.barrier()


@contextmanager
def joined(device: str = "auto") -> Iterator[Processes]:
    """The processes that torchrun started, each on its own GPU, or on the CPU; else this one alone.

    torchrun tells each process its place by variables that torch reads.
    """
    if not distributed.is_torchelastic_launched():
        yield Processes(choose_device(device))
        return
    chosen = choose_device(device)
    if chosen.type == "cuda":
        chosen = choose_device(f"cuda:{distributed.get_node_local_rank()}")
        torch.cuda.set_device(chosen)
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Processes(chosen, distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


def is_first_process() -> bool:
    """Whether this process speaks for all: asked outside `joined`, before and after it."""
    return not distributed.is_torchelastic_launched() or distributed.get_node_local_rank() == 0
