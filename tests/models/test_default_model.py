from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models.datasets import TileSet, load_tiles
from models.infer import Classifier, load_classifier
from models.metrics import measure
from models.recipe import read_recipe
from models.registry import DEFAULT_MODEL, resolve_model
from models.split import read_split

CARD, WEIGHTS = resolve_model(DEFAULT_MODEL)
BARS = {"auc": 0.915, "balanced_accuracy": 0.83, "f1": 0.75}


@pytest.fixture(scope="module")
def classifier() -> Iterator[Classifier]:
    loaded = load_classifier(DEFAULT_MODEL, "cpu", precision="float32")
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def held_out(real_data: Path) -> TileSet:
    return read_split().take(load_tiles(real_data / "idc"), "test", complete=False)


def test_the_weights_are_small_enough_for_the_repository():
    assert WEIGHTS is not None
    assert WEIGHTS.stat().st_size < 25_000_000


def test_the_card_keeps_the_contract_of_the_data_set():
    assert (CARD.tile_px, CARD.input_px, CARD.mpp) == (50, 50, 4.0)
    assert CARD.classes == ("non_idc", "idc")
    assert CARD.positive_class == "idc"
    assert "not a medical device" in CARD.intended_use


def test_the_card_is_of_the_recipe():
    recipe = read_recipe(DEFAULT_MODEL)
    assert (CARD.architecture, CARD.mean, CARD.std) == (
        recipe.architecture,
        recipe.mean,
        recipe.std,
    )
    assert CARD.licence == recipe.card["licence"]


@pytest.mark.parametrize("metric", BARS)
def test_sampled_test_patients_are_told_well_enough(metric: str):
    found = CARD.metrics["test"]
    assert found["patients"] == len(read_split().patients("test", complete=False))
    assert found[metric]["low"] < found[metric]["value"] < found[metric]["high"]
    assert found[metric]["value"] > BARS[metric]


def test_the_card_states_what_the_weights_do(classifier: Classifier, held_out: TileSet):
    prob = classifier.predict(held_out.rgb)[:, CARD.positive_index]
    for name, value in measure(held_out.label, prob, CARD.threshold).items():
        assert value == pytest.approx(CARD.metrics["test"][name]["value"], abs=2e-3)


@pytest.mark.parametrize("grey", [255, 245, 230])
def test_empty_glass_is_no_tumour(classifier: Classifier, grey: int):
    glass = np.full((2, 50, 50, 3), grey, np.uint8)
    assert classifier.predict(glass)[:, CARD.positive_index].max() < CARD.threshold / 2


def test_turning_a_tile_hardly_changes_its_score(classifier: Classifier, held_out: TileSet):
    tiles = held_out.rgb[::20]
    turned = np.ascontiguousarray(np.rot90(tiles, axes=(1, 2)))
    before, after = classifier.predict(tiles)[:, 1], classifier.predict(turned)[:, 1]
    assert np.abs(before - after).mean() < 0.08
    assert np.corrcoef(before, after)[0, 1] > 0.9


def test_a_white_rim_does_not_turn_tissue_into_tumour(classifier: Classifier, held_out: TileSet):
    benign = held_out.rgb[held_out.label == 0][::10].copy()
    before = (classifier.predict(benign)[:, 1] >= CARD.threshold).mean()
    benign[:, 25:] = 255
    after = (classifier.predict(benign)[:, 1] >= CARD.threshold).mean()
    assert after < before + 0.1
