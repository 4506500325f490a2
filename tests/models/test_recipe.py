from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from models.errors import DatasetError
from models.recipe import FewShotConfig, TeachConfig, TrainConfig, parse_changes, read_recipe
from models.training.augment import AugmentConfig


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
        ('name = "x"\nbatch_size = 12.5', "batch_size is 12.5; use a whole number from 2"),
        ('name = "x"\nlearning_rate = "fast"', "learning_rate is 'fast'"),
        ('name = "x"\nmomentum = 0.0', "momentum is 0.0"),
        ('name = "x"\nloss = "hinge"', "loss is 'hinge'; use cross-entropy, weighted, focal"),
        ('name = "x"\nfreeze = "half"', "freeze is 'half'; use none, backbone"),
        ('name = "x"\nschedule = "step"', "schedule is 'step'; use constant, linear"),
        ('name = "x"\npositive_class = "tumour"', "positive_class is 'tumour'; use non_idc, idc"),
        ('name = "x"\n[data]\nsplit = "random"', "data.split is 'random'; use idc, drawn, none"),
        ('name = "x"\n[few_shot]\nways = 2', r"no field few_shot\.ways; use shots, queries"),
        ('name = "x"\n[few_shot]\nshots = "5"', r"few_shot\.shots is '5'; use a whole number"),
        ('name = "x"\n[few_shot]\nshots = -1', r"few_shot\.shots is -1"),
        ('name = "x"\n[few_shot]\nshots = true', r"few_shot\.shots is True"),
        ('name = "x"\n[augment]\nwarp = "x"', r"augment\.warp is 'x'; use 0 to 1"),
        ('name = "x"\n[augment]\nblur = nan', r"augment\.blur is nan"),
        ('name = "x"\n[pretrain]\nepochs = 0', r"pretrain\.epochs is 0"),
        ('name = "x"\nmean = [0.5]', r"mean is \(0\.5,\); use three numbers"),
        ('name = "x"\nstd = [0.1, 0.1, "x"]', "std is 'x'"),
        ('name = "x"\n[data]\nlimit = -1', r"data\.limit is -1; use a whole number from 0"),
        ('name = "x"\n[data]\nsubtypes = "no"', r"data\.subtypes is 'no'; use true or false"),
        ('name = "x"\n[data]\nlayout = "bahc"', r"data\.layout is 'bahc'; use idc, two-folders"),
        ('name = "x"\n[data]\nhow = "crop"', r"data\.how is 'crop'; use tile, resize, tiles"),
        ('name = "x"\n[teach]\nteachers = "one"', r"teach\.teachers is 'one'; use a list"),
        ('name = "x"\n[ensemble]\nmembers = "one"', r"ensemble\.members is 'one'; use a list"),
        ('name = "x"\n[ensemble]\nmembers = ["a", "a"]', "each once"),
        ('name = "x"\n[ensemble]\nchanges = 5', r"ensemble\.changes is 5; it is a table"),
        ('name = "x"\ndata = 5', r"data is 5; it is a table, set data\.FIELD"),
        ('name = "x"\ncard = 5', "card is 5; use a table"),
        ("name = 5", "name is 5; use text"),
        ('name = "x"\nclasses = "idc"', "classes is 'idc'; use a list of 2 or more"),
        ('name = "x"\nclasses = ["idc"]', r"classes is \('idc',\); use a list of 2 or more"),
        ('name = "x"\ntile_px = "50"', "tile_px is '50'"),
        (
            'name = "x"\nstart = "imagenet"\nwithout_imagenet = "pretrain"\n'
            "[pretrain]\ncrop_px = 64",
            r"pretrain\.crop_px is 64; use at most tile_px, 50",
        ),
    ],
)
def test_a_recipe_with_a_mistake_is_refused(tmp_path: Path, text: str, reason: str):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(DatasetError, match=reason):
        read_recipe(path)


EPISODES = 'name = "x"\n[few_shot]\nshots = 5\n[augment]\nblank = 0.0\n'


@pytest.mark.parametrize(
    "change",
    ["loss='focal'", "label_smoothing=0.1", "mixup=0.5", "batch_size=8", "sampler='balanced'",
     "sampler='all'", "patient_tiles=4", "teach.teachers=['one']"],
)  # fmt: skip
def test_episodes_refuse_what_they_would_not_look_at(tmp_path: Path, change: str):
    path = tmp_path / "episodes.toml"
    path.write_text(EPISODES)
    assert read_recipe(path).few_shot.shots == 5
    changed = parse_changes([change])
    with pytest.raises(DatasetError, match=f"do not look at {next(iter(changed))}"):
        read_recipe(path, changed)


def test_a_pretraining_before_the_episodes_looks_at_the_sampler(tmp_path: Path):
    path = tmp_path / "episodes.toml"
    path.write_text(EPISODES)
    texts = ["sampler=all", "start=imagenet", "without_imagenet=pretrain"]
    assert read_recipe(path, parse_changes(texts)).sampler == "all"


def test_tiles_of_an_episode_are_not_blanked():
    with pytest.raises(DatasetError, match=r"augment\.blank is 0\.01, but the tiles of an episode"):
        TrainConfig("x", few_shot=FewShotConfig(shots=5))


def test_rare_classes_are_not_made_to_count_twice():
    with pytest.raises(DatasetError, match="sampler is 'balanced' and loss is 'weighted'"):
        TrainConfig("x", sampler="balanced", loss="weighted")


SUBTYPES = ("adenosis", "fibroadenoma", "normal")


@pytest.mark.parametrize(
    ("classes", "positive", "named", "label"),
    [
        (("non_idc", "idc"), "", "", 0),
        (("benign", "malignant"), "malignant", "", 0),
        (("idc", "non_idc"), "idc", "non_idc", 1),
        (SUBTYPES, "", "normal", 2),
    ],
)
def test_empty_glass_is_of_the_class_that_the_recipe_says(
    classes: tuple[str, ...], positive: str, named: str, label: int
):
    augment = AugmentConfig(blank_class=named)
    recipe = TrainConfig("x", classes=classes, positive_class=positive, augment=augment)
    assert recipe.blank_label == label


@pytest.mark.parametrize(
    ("classes", "positive"), [(SUBTYPES, "normal"), (("idc", "non_idc"), "idc")]
)
def test_empty_glass_of_no_class_is_refused(classes: tuple[str, ...], positive: str):
    with pytest.raises(DatasetError, match=r"name it as augment\.blank_class"):
        TrainConfig("x", classes=classes, positive_class=positive)
    without = AugmentConfig(blank=0.0)
    assert TrainConfig("x", classes=classes, positive_class=positive, augment=without)
    strange = AugmentConfig(blank_class="glass")
    with pytest.raises(DatasetError, match=r"augment\.blank_class is 'glass'; use"):
        TrainConfig("x", classes=classes, augment=strange)


def test_a_field_of_what_was_set_to_a_number_is_refused():
    with pytest.raises(DatasetError, match=r"--set data\.x=1: data was set to 5 before"):
        parse_changes(["data=5", "data.x=1"])


def test_what_older_recipes_say_of_the_training_is_what_they_said(tmp_path: Path):
    """Runs compare it with what they were started with."""
    digest = sha256(read_recipe("idc-resnet18").to_json().encode()).hexdigest()
    assert digest.startswith("737ae7d88220e48b")
    named = replace(read_recipe("idc-resnet18"), augment=AugmentConfig(blank_class="idc"))
    assert '"blank_class": "idc"' in named.to_json()
    taught = replace(named, teach=TeachConfig(true_colours=True))
    assert '"true_colours": true' in taught.to_json()


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
