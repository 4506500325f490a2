"""What only a CUDA device has."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["GraphedNetwork"]

WARM_CALLS = 3  # cuDNN chooses its kernels, and the allocator its blocks, before the capture


class GraphedNetwork(nn.Module):
    """One CUDA graph for one number of tiles: a launch a batch instead of one a layer.

    Captured with the first batch, on that batch's device. The answer is copied out, because the
    graph writes every answer to the same memory. It has not been run on a device by those who wrote
    it: `wsi doctor --tune` compares its answers with the plain network's before it is used.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._graph: torch.cuda.CUDAGraph | None = None
        self._given = self._answer = torch.empty(0)

    def forward(self, pixels: Tensor) -> Tensor:
        if self._graph is None or self._given.shape != pixels.shape:  # memory ran out: fewer tiles
            self._capture(pixels)
        assert self._graph is not None
        self._given.copy_(pixels, non_blocking=True)
        self._graph.replay()
        return self._answer.clone()

    def _capture(self, pixels: Tensor) -> None:
        self._given = torch.empty_like(pixels, memory_format=torch.channels_last)
        beside = torch.cuda.Stream(pixels.device)  # type: ignore[no-untyped-call]
        beside.wait_stream(torch.cuda.current_stream(pixels.device))
        with torch.cuda.stream(beside):
            for _ in range(WARM_CALLS):
                self.network(self._given)
        torch.cuda.current_stream(pixels.device).wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        # other threads pin memory meanwhile, which is none of the graph's business
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self._answer = self.network(self._given)
        self._graph = graph
