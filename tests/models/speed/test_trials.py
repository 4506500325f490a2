"""The fastest way of computing, of those that answer alike."""

from pathlib import Path

import pytest

from models.card import write_card
from models.errors import ModelError, UnknownModel
from models.painted import painted_card
from models.speed.trials import (
    MOST_DIFFERENCE,
    Trial,
    candidates,
    fastest,
    try_forms,
    tuning_of,
)
from models.speed.tuning import Tuning
from tests.models.small_models import make_rgb, write_model

PLAIN = Tuning("plain", "float32", 4)


def trial(form: str, tiles_s: float, refusal: str = "") -> Trial:
    return Trial(form, "float32", 4, tiles_s=tiles_s, refusal=refusal)


def test_the_fastest_is_taken() -> None:
    trials = [trial("plain", 100), trial("filtered", 150), trial("compiled", 120)]

    assert fastest(trials).form == "filtered"


def test_a_lead_that_may_be_noise_changes_nothing() -> None:
    assert fastest([trial("plain", 100), trial("compiled", 102)]).form == "plain"


def test_what_was_refused_is_not_taken() -> None:
    trials = [trial("plain", 100), trial("compiled", 900, "probabilities differ")]

    assert fastest(trials).form == "plain"


def test_where_nothing_works_the_first_reason_is_told() -> None:
    with pytest.raises(ModelError, match="no memory"):
        fastest([trial("plain", 0, "no memory"), trial("filtered", 0, "no compiler")])


def test_a_form_that_the_device_has_not_is_refused_and_the_others_are_tried(tmp_path: Path) -> None:
    ways = PLAIN, Tuning("graphed", "float32", 4), Tuning("filtered", "float32", 4)

    trials = list(try_forms(write_model(tmp_path), make_rgb(3), ways, "cpu", trial_s=0))

    assert [bool(one.refusal) for one in trials[:3]] == [False, True, False]
    assert [one.batch_size for one in trials[3:]] == [1, 2, 8]  # other batches of the fastest
    assert "CUDA" in trials[1].refusal
    assert trials[0].difference == 0
    assert trials[2].difference is not None
    assert 0 < trials[2].difference < 1e-5


def test_a_way_whose_answers_differ_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MOST_DIFFERENCE, "bfloat16", 1e-6)
    ways = PLAIN, Tuning("plain", "bfloat16", 2)

    trials = try_forms(write_model(tmp_path), make_rgb(4), ways, "cpu", trial_s=0)

    next(trials)
    rounded = next(trials)
    assert "probabilities differ" in rounded.refusal


def test_plain_float32_comes_first_and_only_exact_ways_follow_by_themselves(tmp_path: Path) -> None:
    found = candidates(write_model(tmp_path), "cpu")

    assert (found[0].form, found[0].precision) == ("plain", "float32")
    assert "int8" not in [way.form for way in found]
    assert "graphed" not in [way.form for way in found]


def test_a_model_without_a_network_cannot_be_tuned(tmp_path: Path) -> None:
    write_card(painted_card(tile_px=32, mpp=1.0), tmp_path / "painted.json")

    with pytest.raises(UnknownModel, match="nothing to tune"):
        candidates(tmp_path / "painted.json", "cpu")


def test_what_is_kept_of_a_trial_is_its_way_with_its_batch_and_speed() -> None:
    way = Tuning("int8", "float32", 128, ranges=((0.0, 1.0),), loss={"auc": 0.0})

    kept = tuning_of(Trial("int8", "float32", 256, tiles_s=1680.04), [PLAIN, way])

    assert (kept.batch_size, kept.tiles_s, kept.ranges) == (256, 1680.0, ((0.0, 1.0),))
    assert kept.measured != "not measured"
