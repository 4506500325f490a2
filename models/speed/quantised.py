"""Networks in 8-bit integers on a CPU, by OpenVINO (an optional library).

Post-training quantisation (Jacob et al. 2018, arXiv:1712.05877): weights symmetric by output
channel, what enters a convolution by tensor, in ranges that were observed on tiles of the kind.
It changes the scores: the tuning measures by how much, and uses it only where that was allowed.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.errors import ModelError
from models.speed.openvino import compile_model, convert, openvino

__all__ = ["RangeObserver", "quantise"]

Range = tuple[float, float]

TAIL = 1e-5
"""Share of the values that may lie beyond a range. On 5,581 validation tiles of the IDC data the
class of 0.11 % of the tiles differed from float32's; with the whole range of 0.25 %, with a tail of
1e-4 of 0.14 %."""

LEVELS = 256  # of 8 bits
WEIGHT_LEVELS = 255  # -127 to 127


class RangeObserver(nn.Module):
    """The network in float32, which notes the range of everything that enters a convolution.

    Takes float32 (n, 3, input_px, input_px). Raises DeviceError where OpenVINO is missing.
    """

    def __init__(self, network: nn.Module, input_px: int) -> None:
        super().__init__()
        model = convert(network, input_px)
        sources = _sources(model)
        for source in sources:
            model.add_outputs(source)
        self._run = openvino().Core().compile_model(model, "CPU")
        self._tails: list[list[tuple[float, float]]] = []
        self._count = len(sources)

    def forward(self, pixels: Tensor) -> Tensor:
        answers = self._run([pixels.contiguous().numpy()])
        values = [answers[1 + i].ravel() for i in range(self._count)]
        ends = [np.quantile(one, [TAIL, 1 - TAIL]).tolist() for one in values]
        self._tails.append([(low, high) for low, high in ends])
        return torch.from_numpy(np.array(answers[0]))

    @property
    def ranges(self) -> tuple[Range, ...]:
        """(low, high) by tensor, in the order of the layers. Raises ModelError."""
        if not self._tails:
            raise ModelError("int8 needs tiles to look at; give a folder that holds some")
        seen = np.array(self._tails)  # (batches, tensors, 2)
        lows, highs = seen[..., 0].min(0).tolist(), seen[..., 1].max(0).tolist()
        return tuple(zip(lows, highs, strict=True))


def quantise(network: nn.Module, input_px: int, ranges: tuple[Range, ...]) -> nn.Module:
    """The network in 8 bits; takes and gives float32 on the CPU. Raises DeviceError, ModelError."""
    operators = import_module("openvino.opset13")
    model = convert(network, input_px)
    sources = _sources(model)
    if len(sources) != len(ranges):
        raise ModelError(
            f"the tuning knows {len(ranges)} tensors of a network that has {len(sources)}; "
            "run `wsi doctor --tune` again"
        )
    for convolution in _convolutions(model):
        _quantise_weights(operators, convolution)
    for source, (low, high) in zip(sources, ranges, strict=True):
        _quantise_source(operators, source, low, high)
    model.validate_nodes_and_infer_types()
    return compile_model(model)


def _convolutions(model: Any) -> list[Any]:
    return [node for node in model.get_ordered_ops() if node.get_type_name() == "Convolution"]


def _sources(model: Any) -> list[Any]:
    """Outputs that convolutions take, each once."""
    found: dict[tuple[str, int], Any] = {}
    for convolution in _convolutions(model):
        source = convolution.input_value(0)
        found.setdefault((source.get_node().get_friendly_name(), source.get_index()), source)
    return list(found.values())


def _quantise_weights(operators: Any, convolution: Any) -> None:
    weights = convolution.input_value(1)
    if weights.get_node().get_type_name() != "Constant":
        raise ModelError("a convolution computes its weights, which int8 cannot hold; use float32")
    largest = np.abs(weights.get_node().get_data()).max((1, 2, 3), keepdims=True)
    largest = np.maximum(largest, np.finfo(np.float32).tiny).astype(np.float32)
    ends = [operators.constant(end) for end in (-largest, largest, -largest, largest)]
    fake = operators.fake_quantize(weights, *ends, WEIGHT_LEVELS)
    convolution.input(1).replace_source_output(fake.output(0))


def _quantise_source(operators: Any, source: Any, low: float, high: float) -> None:
    """All that takes the tensor takes it in 8 bits, the sum with a shortcut too."""
    takers = list(source.get_target_inputs())
    if low < 0:  # symmetric, with a level for 0
        high = max(-low, high)
        low = -high * LEVELS / (LEVELS - 2)
    else:
        low = 0.0
    high = max(high, float(np.finfo(np.float32).tiny))
    ends = [operators.constant(np.float32(end)) for end in (low, high, low, high)]
    fake = operators.fake_quantize(source, *ends, LEVELS)
    for taker in takers:
        taker.replace_source_output(fake.output(0))
