"""A network computed by OpenVINO (an optional library), on the CPU."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.errors import DeviceError

__all__ = ["compile_model", "convert", "openvino", "run_by_openvino"]


def run_by_openvino(network: nn.Module, input_px: int) -> nn.Module:
    """The same answers up to rounding in float32. Takes float32 (n, 3, input_px, input_px), any n.

    Raises DeviceError where OpenVINO is missing.
    """
    return compile_model(convert(network, input_px))


def openvino() -> Any:
    """The library. Raises DeviceError."""
    try:
        return import_module("openvino")
    except ImportError as error:
        raise DeviceError(
            "this way to compute needs OpenVINO, which is not installed: "
            "pip install 'wsi-heatmap[int8]'"
        ) from error


def convert(network: nn.Module, input_px: int) -> Any:
    """OpenVINO's model of a network, for any number of tiles. Raises DeviceError."""
    library, example = openvino(), torch.zeros(2, 3, input_px, input_px)
    with warnings.catch_warnings():
        # OpenVINO traces, which torch wants nobody to do any more
        warnings.simplefilter("ignore")
        model = library.convert_model(network.eval().float(), example_input=example)
    model.reshape([-1, 3, input_px, input_px])
    return model


def compile_model(model: Any) -> nn.Module:
    """Takes and gives float32 on the CPU, with as many threads as torch has."""
    hints = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "f32",  # not bfloat16 where the processor has it
    }
    return _CompiledNetwork(openvino().Core().compile_model(model, "CPU", hints))


class _CompiledNetwork(nn.Module):
    def __init__(self, compiled: Any) -> None:
        super().__init__()
        self._compiled = compiled

    def forward(self, pixels: Tensor) -> Tensor:
        answer = self._compiled([pixels.contiguous().numpy()])[0]
        return torch.from_numpy(np.array(answer))  # it is overwritten by the next call
