from dataclasses import replace
from pathlib import Path

import pytest

from models.errors import DatasetError
from models.recipe import TrainConfig, parse_changes, read_recipe


def test_the_rate_warms_up_stays_and_falls_to_zero():
    recipe = TrainConfig(
        "x", phases=((6, 40), (4, 48)), warmup_epochs=2, decay_epochs=4, learning_rate=0.8
    )
    assert recipe.epochs == 10
    rates = [recipe.rate(epoch) for epoch in (0, 0.5, 2, 5, 6, 8, 10)]
    assert rates == pytest.approx([0, 0.2, 0.8, 0.8, 0.8, 0.4, 0])


def test_each_phase_has_its_crop():
    recipe = TrainConfig("x", phases=((2, 40), (1, 48), (1, 50)))
    assert [recipe.crop_px(epoch) for epoch in range(4)] == [40, 40, 48, 50]


def test_the_default_model_has_its_recipe_by_name():
    recipe = read_recipe("idc-resnet18")
    assert (recipe.name, recipe.tile_px, recipe.mpp) == ("idc-resnet18", 50, 4.0)
    assert recipe.phases[-1][1] == 50
    assert "medical device" in recipe.card["intended_use"]


def test_a_recipe_is_read_from_a_file(tmp_path: Path):
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\nphases = [[1, 32]]\n[augment]\nwarp = 0.5\n')
    recipe = read_recipe(path)
    assert recipe.phases == ((1, 32),)
    assert recipe.augment.warp == 0.5


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('name = "x"\nleaning_rate = 1', "leaning_rate"),
        ("name = ", "not a training recipe"),
        ('name = "x"\n[augment]\nhue = 1', "hue"),
        ('name = "x"\nphases = "x"', "phases is 'x'"),
        ('name = "x"\nphases = []', "phases is"),
        ('name = "x"\nphases = [[1, 51]]', "at most 50 px"),
        ('name = "x"\nbatch_size = 12.5', "batch_size is 12.5; use 2 to"),
        ('name = "x"\nlearning_rate = "fast"', "learning_rate is 'fast'"),
        ('name = "x"\nmomentum = 0.0', "momentum is 0.0"),
        ('name = "x"\nloss = "hinge"', "loss is 'hinge'; use cross-entropy, weighted, focal"),
        ('name = "x"\nfreeze = "half"', "freeze is 'half'; use none, backbone"),
        ('name = "x"\nschedule = "step"', "schedule is 'step'; use constant, linear"),
        ('name = "x"\npositive_class = "tumour"', "positive_class is 'tumour'; use non_idc, idc"),
        ('name = "x"\n[data]\nsplit = "random"', "data.split is 'random'; use idc, drawn, none"),
        ('name = "x"\n[few_shot]\nways = 2', "ways"),
    ],
)
def test_a_recipe_with_a_mistake_is_refused(tmp_path: Path, text: str, reason: str):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(DatasetError, match=reason):
        read_recipe(path)


def test_an_unknown_name_lists_the_known_recipes():
    with pytest.raises(DatasetError, match="idc-resnet18"):
        read_recipe("idc-resnet81")


def test_the_texts_of_the_card_do_not_change_what_is_trained():
    recipe = TrainConfig("x")
    assert recipe.to_json() == replace(recipe, card={"licence": "other"}).to_json()
    assert recipe.to_json() != replace(recipe, seed=1).to_json()


def test_values_of_the_command_line_come_before_those_of_the_file(tmp_path: Path):
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\nphases = [[1, 32]]\n[augment]\nwarp = 0.5\nblur = 0.1\n')
    texts = ["learning_rate=0.01", "augment.warp=0", "phases=[[2, 50]]", "loss=focal"]

    recipe = read_recipe(path, parse_changes(texts))

    assert (recipe.learning_rate, recipe.phases, recipe.loss) == (0.01, ((2, 50),), "focal")
    assert (recipe.augment.warp, recipe.augment.blur) == (0, 0.1)


def test_a_value_without_its_field_is_refused():
    with pytest.raises(DatasetError, match="use FIELD=VALUE"):
        parse_changes(["0.01"])
