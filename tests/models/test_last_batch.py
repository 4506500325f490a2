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
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        self.count = len(pixels)
        return super().forward(pixels)


def computed_for(count: int, precision: str = "float32") -> int:
    """Tiles of the last batch of `count` tiles in batches of 30."""
    network = CountTiles()
    classifier = TorchClassifier(make_card(), network, "cpu", batch_size=30, precision=precision)
    assert len(classifier.predict(make_rgb(count))) == count
    return network.count


def test_a_tile_of_a_short_batch_scores_as_it_does_in_a_full_one(tmp_path: Path) -> None:
    classifier = load_classifier(write_model(tmp_path), "cpu", batch_size=32)
    rgb = make_rgb(32)
    full = classifier.predict(rgb)
    for count in (1, 8, 9, 31):
        np.testing.assert_allclose(classifier.predict(rgb[:count]), full[:count], rtol=0, atol=SAME)


@pytest.mark.parametrize(("count", "computed"), [(1, 8), (8, 8), (9, 16), (30, 30), (31, 8)])
def test_at_most_seven_tiles_are_computed_in_vain(count: int, computed: int) -> None:
    assert computed_for(count) == computed


def test_no_more_than_a_batch_is_computed_at_once() -> None:
    assert computed_for(29) == 30


def test_in_bfloat16_every_batch_is_as_large_as_the_first() -> None:
    assert computed_for(31, "bfloat16") == 30
