"""A network made ready for a device: the same answers, computed one way or another."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from models.errors import DeviceError
from models.speed.tuning import Tuning

__all__ = ["Part", "shape_network", "split_batch"]

FILTERED_TILES = 64
"""Tiles at once from which filtering small maps pays: with fewer the products are too thin."""

PAD_TILES = 8
"""A batch on a CPU is filled up to a multiple of it: few sizes, which oneDNN plans for once each
(10 ms), and few tiles in vain. The same tile has the same bits in both, in bfloat16 too (AVX-512;
50, 224 and 256 px), or with filtering differs by 1e-6."""

ANY_COUNT = ("plain", "filtered", "openvino", "int8")
"""Forms that take any number of tiles; for the others a new number is a new program."""

_ONLY_ON = {"filtered": "cpu", "openvino": "cpu", "int8": "cpu", "graphed": "cuda"}

logger = logging.getLogger(__name__)


def shape_network(
    network: nn.Module,
    input_px: int,
    device: torch.device,
    dtype: torch.dtype,
    tiles: int,
    tuning: Tuning | None = None,
) -> tuple[nn.Module, str]:
    """The network on its device and its form. tiles: as many as it will get at once.

    The network that is given may be changed. Raises DeviceError.
    """
    form = tuning.form if tuning else "auto"
    if form == "auto":
        filters = device.type == "cpu" and dtype == torch.float32 and tiles >= FILTERED_TILES
        form = "filtered" if filters else "plain"
    if form in _ONLY_ON and device.type != _ONLY_ON[form]:
        raise DeviceError(f"the form {form} is for {_ONLY_ON[form].upper()} devices, not {device}")
    if tuning and tuning.threads and device.type == "cpu":  # never more than a caller allowed
        torch.set_num_threads(min(torch.get_num_threads(), tuning.threads))
    if form == "int8":
        from models.speed.quantised import quantise

        assert tuning is not None
        return quantise(network, input_px, tuning.ranges), form
    if form == "openvino":
        _require_float32(form, dtype)
        from models.speed.openvino import run_by_openvino

        return run_by_openvino(network, input_px), form
    if form == "filtered":
        form = _filter(network, input_px, dtype)
    moved = network.eval().to(device, dtype).to(memory_format=torch.channels_last)
    make = _MAKERS.get(form)
    return (make(moved) if make else moved), form


@dataclass(frozen=True)
class Part:
    """tiles: which of a batch. count: of how many the network's batch is, so many are computed."""

    tiles: slice
    count: int


def split_batch(tiles: int, most: int, lanes: int, form: str, device: torch.device) -> list[Part]:
    """Tiles in parts of `most` at most, which `lanes` compute side by side, each as many."""
    any_count = device.type == "cpu" and form in ANY_COUNT
    size = most
    if any_count:  # on a GPU the size may choose the arithmetic
        rounds = -(-tiles // (most * lanes))
        size = min(most, _padded(-(-tiles // max(1, rounds * lanes))))
    parts = [slice(i, min(i + size, tiles)) for i in range(0, tiles, max(1, size))]
    return [Part(p, min(size, _padded(p.stop - p.start)) if any_count else size) for p in parts]


def _padded(count: int) -> int:
    return -(-count // PAD_TILES) * PAD_TILES


def _require_float32(form: str, dtype: torch.dtype) -> None:
    if dtype != torch.float32:
        raise DeviceError(f"the form {form} is for float32, not {dtype}")


def _filter(network: nn.Module, input_px: int, dtype: torch.dtype) -> str:
    """What has come out of it: a network without a small map stays plain."""
    from models.speed.filtering import filter_small_maps

    _require_float32("filtered", dtype)
    replaced = filter_small_maps(network.eval(), input_px)
    logger.info("%d convolutions of small maps are computed with fewer products", replaced)
    return "filtered" if replaced else "plain"


def _compile(network: nn.Module) -> nn.Module:
    """For one number of tiles; compiled with the first batch, kept in Inductor's own cache."""
    # weights are constants, laid out as the processor likes them
    compiled = torch.compile(network, dynamic=False, options={"freezing": True})
    return cast("nn.Module", compiled)


def _graph(network: nn.Module) -> nn.Module:
    from models.speed.cuda import GraphedNetwork

    return GraphedNetwork(network)


_MAKERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "compiled": _compile,
    "graphed": _graph,
}
