from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.card import read_card
from models.datasets import decoded, open_data
from models.errors import CardError, DeviceError
from models.infer import load_classifier
from models.metrics import calibrate
from models.recipe import TrainConfig
from models.registry import MODELS, build
from models.split import read_split
from models.train import train
from models.training.release import add_test_metrics, release
from tests.models.labelled import make_tiles
from tests.models.pictures import write_bach
from tests.models.training_runs import STILL

CONFIG = TrainConfig(
    "made", architecture="tiny", bootstrap_rounds=10, card={"licence": "Apache-2.0"}
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "tiny", "tests.models.labelled:build_tiny")


def make_weights(scale: float = 1.0) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    weights = build("tiny", 2).state_dict()
    weights["2.weight"] *= scale
    weights["2.bias"] *= scale
    return weights


def test_the_card_says_what_was_made_and_pins_it(tmp_path: Path):
    card = read_card(release(CONFIG, make_weights(), make_tiles(), tmp_path, "cpu"))
    assert (card.name, card.architecture, card.licence) == ("made", "tiny", "Apache-2.0")
    assert (card.tile_px, card.mpp, card.input_px) == (50, 4.0, 50)
    assert card.classes == ("non_idc", "idc")
    assert card.positive_class == "idc"
    assert card.weights_sha256 is not None
    assert card.metrics["validation"]["tiles"] == 32


def test_no_uncalibrated_card_is_left_where_the_scoring_stops(tmp_path: Path):
    with pytest.raises(DeviceError):
        release(CONFIG, make_weights(), make_tiles(), tmp_path, "no such device")
    assert [path.name for path in tmp_path.iterdir()] == ["made.safetensors"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "a name"}, "name"),
        ({"std": (0.0, 1.0, 1.0)}, "std"),
        ({"card": {"colour": "red"}}, "colour"),
        ({"card": {"limits": 3}}, "limits is 3; use a list of texts"),
        ({"card": {"limits": "one text"}}, "limits is 'one text'; use a list"),
    ],
)
def test_a_recipe_that_makes_no_card_is_refused_before_the_training(
    tmp_path: Path, changes: dict[str, Any], said: str
):
    with pytest.raises(CardError, match=said):
        train(replace(CONFIG, **changes), tmp_path / "no data", tmp_path)


def test_temperature_undoes_overconfident_logits(tmp_path: Path):
    tiles = make_tiles(tuple("abcdefgh"))
    first = release(CONFIG, make_weights(), tiles, tmp_path, "cpu")
    predicted = load_classifier(first, "cpu").predict(tiles.rgb).argmax(axis=1)
    wrong = np.arange(len(tiles)) % 4 == 0  # so that the best temperature is finite
    tiles.label[:] = np.where(wrong, 1 - predicted, predicted)
    temperatures = []
    for scale in (1.0, 8.0):
        (tmp_path / str(scale)).mkdir()
        path = release(CONFIG, make_weights(scale), tiles, tmp_path / str(scale), "cpu")
        temperatures.append(read_card(path).temperature)
    assert temperatures[1] == pytest.approx(8 * temperatures[0], rel=0.02)


def test_the_metrics_are_those_of_the_model_as_it_is_loaded(tmp_path: Path):
    tiles = make_tiles()
    np.random.default_rng(1).shuffle(tiles.label)
    path = release(CONFIG, make_weights(), tiles, tmp_path, "cpu")
    card = read_card(path)
    prob = load_classifier(path, "cpu").predict(tiles.rgb)[:, 1]
    predicted = prob >= card.threshold
    found = card.metrics["validation"]
    assert found["accuracy"]["value"] == pytest.approx((predicted == tiles.label).mean(), abs=1e-4)
    assert found["brier"]["value"] == pytest.approx(((prob - tiles.label) ** 2).mean(), abs=1e-3)


def test_test_patients_are_added_sampled_and_complete_apart(tmp_path: Path):
    split = read_split()
    sampled = split.patients("test", complete=False)[:3]
    slides = [split.patients(part, complete=True)[0] for part in ("validation", "test")]
    path = release(CONFIG, make_weights(), make_tiles(), tmp_path, "cpu")
    before = read_card(path)
    add_test_metrics(path, make_tiles((*sampled, *slides)), split, "cpu", rounds=10)
    found = read_card(path).metrics
    assert found["validation"] == before.metrics["validation"]
    assert found["test"]["patients"] == 3
    assert list(found["validation_complete_slides"]) == slides[:1]
    assert list(found["test_complete_slides"]) == slides[1:]
    assert (read_card(path).threshold, read_card(path).temperature) == (
        before.threshold,
        before.temperature,
    )


def test_pictures_that_were_cut_up_are_measured_by_tile_and_by_picture(tmp_path: Path):
    """Four tiles of 32 px in 64 x 64, one after the other in the store."""
    write_bach(tmp_path / "bach", per_class=3, width=64, height=64)
    store = decoded(open_data(tmp_path / "bach"), tmp_path / "store", how="tiles", px=32)
    config = replace(
        CONFIG, classes=store.classes, tile_px=32, phases=((1, 32),), mpp=0.42, augment=STILL
    )
    torch.manual_seed(0)
    path = release(config, build("tiny", 4).state_dict(), store, tmp_path, "cpu")

    found = read_card(path).metrics
    prob = load_classifier(path, "cpu").predict(store.batch(np.arange(len(store))))
    means = prob.reshape(12, 4, 4).mean(1)

    assert found["validation"]["tiles"] == 48
    of_pictures = found["validation_pictures"]
    assert (of_pictures["pictures"], of_pictures["patients"]) == (12, 12)
    expected = (means.argmax(1) == store.pictures.label).mean()
    assert of_pictures["classes"]["accuracy"] == pytest.approx(expected, abs=1e-4)
    assert of_pictures["classes"]["pictures"] == 12


def test_tiles_that_are_pictures_are_measured_once(tmp_path: Path):
    path = release(CONFIG, make_weights(), make_tiles(), tmp_path, "cpu")

    assert "validation_pictures" not in read_card(path).metrics


def test_a_temperature_leaves_the_order_of_scores():
    logit = np.random.default_rng(0).normal(size=(50, 2))
    order = [np.argsort(calibrate(logit, t)[:, 1]).tolist() for t in (0.5, 1, 3)]
    assert order[0] == order[1] == order[2]
