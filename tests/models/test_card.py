import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from models.card import ModelCard, read_card, write_card
from models.errors import CardError
from tests.models.small_models import make_card

# The fields and rules of the WSInfer model configuration 1.0, as its schema has them.
WSINFER_SCHEMA = {
    "type": "object",
    "required": [
        "spec_version",
        "architecture",
        "num_classes",
        "patch_size_pixels",
        "spacing_um_px",
        "class_names",
        "transform",
    ],
    "properties": {
        "spec_version": {"enum": ["1.0"]},
        "architecture": {"type": "string"},
        "num_classes": {"type": "integer", "minimum": 1},
        "patch_size_pixels": {"type": "integer", "minimum": 1},
        "spacing_um_px": {"type": "number", "minimum": 0},
        "class_names": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        "transform": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name"],
                "additionalProperties": False,
                "properties": {
                    "name": {"enum": ["Resize", "ToTensor", "Normalize"]},
                    "arguments": {"type": "object"},
                },
            },
        },
    },
}


def wsinfer_config(**changed: Any) -> dict[str, Any]:
    """A configuration as the WSInfer zoo publishes them."""
    return {
        "spec_version": "1.0",
        "architecture": "resnet34",
        "num_classes": 2,
        "class_names": ["notumor", "tumor"],
        "patch_size_pixels": 350,
        "spacing_um_px": 0.25,
        "transform": [
            {"name": "Resize", "arguments": {"size": 224}},
            {"name": "ToTensor"},
            {
                "name": "Normalize",
                "arguments": {"mean": [0.72, 0.57, 0.68], "std": [0.11, 0.15, 0.11]},
            },
        ],
    } | changed


def write_json(path: Path, fields: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(fields))
    return path


def test_a_wsinfer_configuration_loads_as_it_is(tmp_path: Path):
    card = read_card(write_json(tmp_path / "breast-tumor" / "config.json", wsinfer_config()))

    assert card.name == "breast-tumor"
    assert (card.tile_px, card.mpp, card.input_px) == (350, 0.25, 224)
    assert card.classes == ("notumor", "tumor")
    assert (card.mean, card.std) == ((0.72, 0.57, 0.68), (0.11, 0.15, 0.11))
    assert card.activation == "softmax"


def test_what_a_wsinfer_configuration_leaves_open_is_said_in_the_limits():
    card = ModelCard.from_json(wsinfer_config(), "zoo")

    assert card.positive_class == "tumor"
    assert card.threshold == 0.5
    assert any("positive class is not stated" in limit for limit in card.limits)
    assert any("threshold is not stated" in limit for limit in card.limits)
    assert any("not calibrated" in limit for limit in card.limits)


def test_one_logit_is_read_by_a_sigmoid():
    config = wsinfer_config(num_classes=1, class_names=["tumor"])

    assert ModelCard.from_json(config, "zoo").activation == "sigmoid"


def test_without_a_resize_the_network_sees_the_tile_as_it_is():
    config = wsinfer_config(transform=[{"name": "ToTensor"}])

    card = ModelCard.from_json(config, "zoo")

    assert card.input_px == 350
    assert (card.mean, card.std) == ((0, 0, 0), (1, 1, 1))


def test_a_resize_may_name_both_sides():
    resize = {"name": "Resize", "arguments": {"size": [224, 224]}}

    config = wsinfer_config(transform=[resize, {"name": "ToTensor"}])

    assert ModelCard.from_json(config, "zoo").input_px == 224


def test_a_card_comes_back_from_its_file_as_it_was(tmp_path: Path):
    card = make_card(
        threshold=0.41,
        temperature=1.3,
        weights_file="small.safetensors",
        weights_sha256="ab" * 32,
        metrics={"auc": {"value": 0.92, "low": 0.9, "high": 0.94}},
        limits=("H&E only.",),
        licence="CC0 – données",
    )

    write_card(card, tmp_path / "small.json")

    assert read_card(tmp_path / "small.json") == card
    assert [path.name for path in tmp_path.iterdir()] == ["small.json"]


def test_a_card_is_itself_a_wsinfer_configuration():
    jsonschema.validate(make_card().to_json(), WSINFER_SCHEMA)


def test_cards_have_the_same_sha256_only_when_they_are_equal():
    assert make_card().sha256 == make_card().sha256
    assert make_card().sha256 != make_card(threshold=0.4).sha256
    assert make_card().sha256 != make_card(weights_sha256="ab" * 32).sha256


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"spec_version": "2.0"}, "spec_version is '2.0'"),
        ({"num_classes": 3}, "num_classes is 3, but class_names has 2"),
        ({"class_names": ["tumor", "tumor"]}, "class_names is"),
        ({"patch_size_pixels": "350"}, "patch_size_pixels is '350'"),
        ({"patch_size_pixels": 8}, "patch_size_pixels is 8; use 16 to 16384"),
        ({"patch_size_pixels": 10**30}, "use 16 to 16384"),
        ({"spacing_um_px": 10**400}, "spacing_um_px is 1000.*must be a number"),
        ({"spacing_um_px": 0}, "spacing_um_px is 0"),
        ({"spacing_um_px": True}, "spacing_um_px is True"),
        ({"spacing_um_px": float("nan")}, "spacing_um_px is nan"),
        ({"transform": [{"name": "ToTensor"}, {"name": "Resize"}]}, "transform is"),
        ({"transform": [{"name": "Resize", "arguments": {"size": [1, 2]}}, {"name": "ToTensor"}]},
         r"size is \[1, 2\]"),
        ({"transform": ["Flip"]}, r"transform is \['Flip'\]"),
        ({"threshold": 1.5}, "threshold is 1.5"),
        ({"temperature": 0}, "temperature is 0"),
        ({"activation": "relu"}, "activation is 'relu'; use softmax or sigmoid"),
        ({"positive_class": "idc"}, "positive_class is 'idc'"),
        ({"weights": {"file": "../../secret"}}, "bare name"),
        ({"weights": {"sha256": "abc"}}, "64 digits"),
        ({"name": "../up"}, "name is '../up'"),
        ({"limits": "none"}, "limits is 'none'; it must be a list"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named_with_its_file_and_value(
    changed: dict[str, Any], message: str, tmp_path: Path
):
    path = write_json(tmp_path / "config.json", wsinfer_config(**changed))

    with pytest.raises(CardError, match=message) as raised:
        read_card(path)

    assert str(path) in str(raised.value)


def test_a_missing_field_is_named(tmp_path: Path):
    config = wsinfer_config()
    del config["spacing_um_px"]

    with pytest.raises(CardError, match="spacing_um_px is missing"):
        read_card(write_json(tmp_path / "config.json", config))


@pytest.mark.parametrize("content", ["{", "[]", "\x00"])
def test_a_file_that_is_no_json_object_is_a_card_error(content: str, tmp_path: Path):
    (tmp_path / "card.json").write_text(content)

    with pytest.raises(CardError, match=r"card\.json"):
        read_card(tmp_path / "card.json")


def test_a_file_that_is_not_there_is_a_card_error(tmp_path: Path):
    with pytest.raises(CardError, match=r"none\.json"):
        read_card(tmp_path / "none.json")
