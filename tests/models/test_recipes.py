"""Every recipe, from the data as downloaded to a model that serves: in seconds each."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from models.card import read_card
from models.ensemble.members import ENSEMBLE
from models.ensemble.training import member_recipes
from models.infer import load_classifier
from models.recipe import RECIPES, TrainConfig, read_recipe, shrunk
from models.registry import MODELS
from models.train import train
from tests.models.pictures import write_bach

NAMES = sorted(path.stem for path in RECIPES.glob("*.toml"))


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_named_as_its_file_and_can_be_shrunk(name: str):
    recipe = read_recipe(name)

    assert recipe.name == name
    assert recipe.architecture in (ENSEMBLE, *MODELS)
    assert (recipe.architecture == ENSEMBLE) == bool(recipe.ensemble.members)
    assert "medical device" in recipe.card["intended_use"]
    small = shrunk(recipe)
    assert (small.epochs, small.pretrain.epochs, small.data.limit > 0) == (2, 1, True)
    assert (small.architecture, small.loss, small.freeze) == (
        recipe.architecture,
        recipe.loss,
        recipe.freeze,
    )


def test_the_recipes_are_those_of_the_reproduced_systems():
    assert [name for name in NAMES if name.startswith("idc-vgg16")] == [
        "idc-vgg16-blocks",
        "idc-vgg16-frozen",
        "idc-vgg16-full",
        "idc-vgg16-last4",
    ]
    freezing = {name: read_recipe(name).freeze for name in NAMES if "vgg16" in name}
    assert len(set(freezing.values())) == 4
    assert read_recipe("bach-resnet50").loss == "cross-entropy"
    assert read_recipe("bach-resnet50-weighted").loss == "weighted"
    assert read_recipe("bach-fewshot").few_shot.shots == 5
    assert len(read_recipe("breakhis-subtypes-cnn").classes) == 8
    ensemble = read_recipe("bach-ensemble")
    assert [one.architecture for one in member_recipes(ensemble)] == [
        "efficientnet_b0",
        "resnet50v2",
        "densenet121",
    ]
    assert ensemble.ensemble.classical == ("random-forest", "gradient-boosting", "svm")


@pytest.fixture(scope="module")
def bach(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four tiles a picture, two pictures a class."""
    folder = tmp_path_factory.mktemp("bach")
    write_bach(folder, per_class=2, width=1024, height=768)
    return folder


def find_data(recipe: TrainConfig, real_data: Path, bach: Path) -> Path:
    return {"bach": bach, "breakhis": real_data / "breakhis"}.get(
        recipe.data.layout, real_data / "idc"
    )


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_runs_from_its_data_to_a_model_that_serves(
    name: str, real_data: Path, bach: Path, tmp_path: Path
):
    recipe = shrunk(read_recipe(name))
    data, runs = find_data(recipe, real_data, bach), tmp_path / "runs"
    try:
        card_path = train(recipe, data, runs, device="cpu", imagenet=tmp_path)
        again: list[int] = []
        train(
            recipe, data, runs, device="cpu", imagenet=tmp_path,
            on_progress=lambda now: again.append(now.epoch),
        )  # fmt: skip
        card = read_card(card_path)
        tiles = np.full((1, card.tile_px, card.tile_px, 3), 200, np.uint8)
        prob = load_classifier(card_path, "cpu").predict(tiles)
    finally:
        shutil.rmtree(runs, ignore_errors=True)  # up to 2 GB

    assert again == []
    assert prob.shape == (1, len(recipe.classes))
    assert prob.sum() == pytest.approx(1, abs=1e-5)
    assert card.metrics["training"]["epochs"] == 2
    is_replaced = any(one.start == "imagenet" for one in member_recipes(recipe) or [recipe])
    assert any("ImageNet" in limit for limit in card.limits) == is_replaced


@pytest.mark.slow
@pytest.mark.real_data
def test_breakhis_is_learned_by_heart_and_goes_on_after_a_stop(real_data: Path, tmp_path: Path):
    still = {
        "stain_scale": 0,
        "stain_shift": 0,
        "brightness": 0,
        "contrast": 0,
        "blur": 0,
        "warp": 0,
    }
    changes = {
        "phases": [[50, 117]], "data": {"split": "none", "magnification": 40, "limit": 8},
        "augment": still, "learning_rate": 3e-3, "stop_after": 0, "patience": 0, "batch_size": 8,
        "label_smoothing": 0.0, "keep": "last", "ema": 0.9, "validate_every": 10,
        "bootstrap_rounds": 20,
    }  # fmt: skip
    recipe = read_recipe("breakhis-cnn", changes)

    class Stopped(Exception):
        pass

    def stop(progress: object) -> None:
        if getattr(progress, "epoch", 0) == 40:
            raise Stopped

    with pytest.raises(Stopped):
        train(recipe, real_data / "breakhis", tmp_path, device="cpu", on_progress=stop)
    seen: list[int] = []
    card = train(
        recipe,
        real_data / "breakhis",
        tmp_path,
        device="cpu",
        on_progress=lambda now: seen.append(now.epoch),
    )

    assert seen == list(range(41, 51))
    assert read_card(card).metrics["validation"]["auc"]["value"] > 0.9
