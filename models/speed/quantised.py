"""Networks in 8-bit integers on a CPU, by OpenVINO (an optional library).

Post-training quantisation (Jacob et al. 2018, arXiv:1712.05877): weights symmetric by output
channel, what enters a convolution by tensor, in ranges that were observed on tiles of the kind.
It changes the scores: the tuning measures by how much, and uses it only where that was allowed.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.errors import DeviceError, ModelError

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
        model = _convert(network, input_px)
        sources = _sources(model)
        for source in sources:
            model.add_outputs(source)
        self._run = _openvino().Core().compile_model(model, "CPU")
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
    openvino, operators = _openvino(), import_module("openvino.opset13")
    model = _convert(network, input_px)
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
    hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    return _OpenVinoNetwork(openvino.Core().compile_model(model, "CPU", hints))


class _OpenVinoNetwork(nn.Module):
    def __init__(self, compiled: Any) -> None:
        super().__init__()
        self._compiled = compiled

    def forward(self, pixels: Tensor) -> Tensor:
        answer = self._compiled([pixels.contiguous().numpy()])[0]
        return torch.from_numpy(np.array(answer))  # it is overwritten by the next call


def _openvino() -> Any:
    try:
        return import_module("openvino")
    except ImportError as error:
        raise DeviceError(
            "int8 needs OpenVINO, which is not installed: pip install 'wsi-heatmap[int8]'"
        ) from error


def _convert(network: nn.Module, input_px: int) -> Any:
    example = torch.zeros(2, 3, input_px, input_px)
    with warnings.catch_warnings():
        # OpenVINO traces, which torch wants nobody to do any more
        warnings.simplefilter("ignore")
        model = _openvino().convert_model(network.eval().float(), example_input=example)
    model.reshape([-1, 3, input_px, input_px])
    return model


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
