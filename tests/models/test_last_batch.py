"""The last batch of a slide has fewer tiles than the others; what is computed for it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.infer import load_classifier
from models.network import TorchClassifier
from tests.models.classifier_contract import SAME
from tests.models.small_models import ChannelNetwork, make_card, make_rgb, write_model


class CountTiles(ChannelNetwork):
    def __init__(self) -> None:
        super().__init__()
        self.counts: list[int] = []

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        self.counts.append(len(pixels))
        return super().forward(pixels)


def computed_for(count: int, precision: str = "float32") -> list[int]:
    """Tiles of each batch, of 30 at most, that `count` tiles are computed in."""
    network = CountTiles()
    classifier = TorchClassifier(
        make_card(), network, "cpu", batch_size=30, precision=precision, lanes=1
    )
    assert len(classifier.predict(make_rgb(count))) == count
    return network.counts


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_tile_of_a_short_batch_scores_as_it_does_in_a_full_one(
    tmp_path: Path, precision: str
) -> None:
    classifier = load_classifier(write_model(tmp_path), "cpu", batch_size=32, precision=precision)
    rgb = make_rgb(32)
    full = classifier.predict(rgb)
    for count in (1, 8, 9, 31):
        np.testing.assert_allclose(classifier.predict(rgb[:count]), full[:count], rtol=0, atol=SAME)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("count", "computed"),
    [(1, [8]), (8, [8]), (9, [16]), (30, [30]), (31, [16, 16]), (59, [30, 30]), (70, [24] * 3)],
)
def test_few_tiles_are_computed_in_vain(count: int, computed: list[int], precision: str) -> None:
    assert computed_for(count, precision) == computed


def test_no_more_than_a_batch_is_computed_at_once() -> None:
    assert computed_for(29) == [30]
