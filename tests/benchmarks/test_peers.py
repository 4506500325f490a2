"""What makes a comparison honest: the same weights, and nothing of ours in the other's process."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torchvision.models import resnet18

from benchmarks.contracts import Contract
from benchmarks.peers.weights import write_peer_model
from models.infer import load_classifier


@pytest.mark.filterwarnings("ignore:.*torch.jit.load:FutureWarning")
def test_peers_get_weights_that_answer_as_our_model_does(tmp_path: Path) -> None:
    folder = write_peer_model(Contract(50, 4.0), tmp_path)
    rgb = np.random.default_rng(0).integers(0, 256, (8, 50, 50, 3), dtype=np.uint8)
    ours = load_classifier(folder, "cpu", precision="float32").predict(rgb)
    network = resnet18(num_classes=2)
    network.load_state_dict(load_file(folder / "weights.safetensors"))
    for theirs in (network.eval(), torch.jit.load(folder / "weights.pt")):
        assert np.abs(_softmax_of(theirs, rgb, folder) - ours).max() < 1e-5


def test_what_runs_beside_a_peer_imports_nothing_of_this_project() -> None:
    code = (
        "import sys, benchmarks.peers.job; "
        "print(sorted({'wsi', 'models', 'service', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def _softmax_of(network: torch.nn.Module, rgb: np.ndarray, folder: Path) -> np.ndarray:
    normalise = json.loads((folder / "card.json").read_text())["transform"][-1]["arguments"]
    mean, std = (torch.tensor(normalise[key]).view(3, 1, 1) for key in ("mean", "std"))
    pixels = torch.from_numpy(rgb).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        return network((pixels - mean) / std).softmax(1).numpy()
