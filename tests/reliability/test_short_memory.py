"""R18, simulated: a device whose memory runs out at a random batch."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.network import TorchClassifier
from service.pipeline import make_heatmap
from service.request import HeatmapRequest
from tests.models.small_models import make_card, make_network
from tests.reliability.report import SEED, report
from tests.service.worker.workshop import make_slide
from wsi.store import ScoreStore

pytestmark = [pytest.mark.slow, pytest.mark.reliability]

TRIALS = 10
TOLERANCE = 1e-5


class ShortOfMemory(nn.Module):
    """Runs out of memory with more than `most` tiles, after `calls` batches that went well."""

    def __init__(self, network: nn.Module, most: int, calls: int) -> None:
        super().__init__()
        self.network, self.most, self.calls = network, most, calls
        self.failures = 0

    def forward(self, pixels: Tensor) -> Tensor:
        self.calls -= 1
        if self.calls < 0 and len(pixels) > self.most:
            self.failures += 1
            raise torch.OutOfMemoryError("simulated")
        answer: Tensor = self.network(pixels)
        return answer


def test_scores_are_the_same_where_the_batch_had_to_be_halved(tmp_path: Path):
    chance = random.Random(SEED)
    slide = make_slide(tmp_path / "slide.tiff", tiles=16)
    card = make_card(mpp=0.5, tile_px=16, input_px=16)
    network = make_network()
    undisturbed = scores(tmp_path / "undisturbed", slide, TorchClassifier(card, network, "cpu"))
    differences, untried = [], 0
    for trial in range(TRIALS):
        short = ShortOfMemory(network, most=chance.randint(1, 63), calls=chance.randint(0, 3))
        classifier = TorchClassifier(card, short, "cpu", batch_size=64, lanes=1)
        found = scores(tmp_path / f"{trial}", slide, classifier)
        differences.append(float(np.abs(found - undisturbed).max()))
        untried += not (short.failures and classifier.batch_size <= short.most)
    failures = sum(difference > TOLERANCE for difference in differences)
    report("R18", TRIALS, failures, largest_difference=max(differences), tolerance=TOLERANCE)
    assert untried == 0
    assert failures == 0


def scores(folder: Path, slide: Path, classifier: TorchClassifier) -> NDArray[np.float32]:
    request = HeatmapRequest(slide=str(slide), mask="none", formats=("csv",))
    make_heatmap(request, folder, classifier.card, lambda: classifier)
    assert json.loads((folder / "manifest.json").read_text())["tiles"] == 16 * 16
    return np.asarray(ScoreStore.open(folder / "scores.zarr").prob)
