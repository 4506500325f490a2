"""Whether a slide looks like those that a model learned from."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.appearance import Appearance, learn_appearance, look_of
from models.card import read_card, write_card
from models.errors import CardError
from models.training.looks import appearance_of
from tests.models.labelled import make_tiles
from tests.models.small_models import make_card

ROUND = Appearance(
    mean=tuple(np.log([0.1, 0.2, 0.15]).tolist()),
    covariance=((0.04, 0.0, 0.0), (0.0, 0.01, 0.0), (0.0, 0.0, 0.01)),
    limit=3.0,
    low=(0.05, 0.1, 0.1),
    high=(0.2, 0.3, 0.2),
    patients=100,
    mpp=(4.0, 4.0),
)


def shift(red: float = 0.0, green: float = 0.0, blue: float = 0.0) -> NDArray[np.float64]:
    """The mean look, its logarithms moved."""
    return np.array(ROUND.mean) + np.array([red, green, blue])


def paint(density: tuple[float, float, float], n: int = 600) -> NDArray[np.uint8]:
    """Pixels of about that optical density."""
    rgb = np.round(256 * 10.0 ** -np.array(density)) - 1
    return np.tile(rgb.astype(np.uint8), (n, 1))


def test_a_look_is_the_mean_density_of_what_is_stained():
    glass = np.full((4000, 3), 250, np.uint8)
    look = look_of(np.concatenate([paint((0.1, 0.3, 0.2)), paint((0.3, 0.5, 0.4)), glass]))
    assert look is not None
    np.testing.assert_allclose(np.exp(look), [0.2, 0.4, 0.3], atol=0.003)


def test_glass_alone_has_no_look_nor_have_a_few_pixels():
    assert look_of(np.full((5000, 3), 240, np.uint8)) is None
    assert look_of(paint((0.2, 0.3, 0.2), 499)) is None


def test_a_colour_without_any_stain_has_a_finite_look():
    look = look_of(np.tile(np.array([255, 0, 128], np.uint8), (600, 1)))
    assert look is not None
    assert np.isfinite(look).all()


def test_distance_counts_in_deviations_of_the_patients():
    assert ROUND.distance(shift()) == 0
    assert ROUND.distance(shift(red=0.4)) == pytest.approx(2)
    assert ROUND.distance(shift(green=0.4)) == pytest.approx(4)
    assert ROUND.distance(shift(red=0.6, green=-0.4)) == pytest.approx(5)


def test_a_slide_within_the_limit_is_no_reason_to_complain():
    assert ROUND.complaint(shift(red=0.59), "m") is None
    assert ROUND.complaint(None, "m") is None


def test_a_slide_beyond_it_is_named_with_what_it_has_and_what_is_usual():
    complaint = ROUND.complaint(shift(green=0.4), "m")
    assert complaint is not None
    assert "m learned from (distance 4.0; 99% of its 100 training patients are within 3.0)" in (
        complaint
    )
    assert "green 0.30 (theirs 0.10 to 0.30)" in complaint


def test_a_slide_coarser_than_what_was_learned_from_lacks_detail():
    assert ROUND.complaint_of_scale((5.0, 4.0), "m") is None
    complaint = ROUND.complaint_of_scale((0.25, 5.1), "m")
    assert complaint is not None
    assert "5.1 um/px, but m learned from 4 um/px at most" in complaint


def make_cloud(n: int = 200) -> NDArray[np.float64]:
    return np.random.default_rng(0).normal((-2, -1, -1.5), (0.3, 0.2, 0.1), (n, 3))


def test_one_in_a_hundred_training_patients_lies_beyond_the_limit():
    cloud = make_cloud()
    learned = learn_appearance(cloud, (4.0, 4.0))
    assert learned is not None
    assert sum(learned.distance(look) > learned.limit for look in cloud) in (0, 1, 2)
    # three independent normal numbers: the 99th percentile of chi with 3 degrees is 3.37
    assert learned.limit == pytest.approx(3.37, abs=0.4)
    assert learned.patients == 200


def test_from_a_handful_of_patients_nothing_is_learned():
    assert learn_appearance([*make_cloud(19), None, None], (4.0, 4.0)) is None


def test_patients_that_are_all_alike_still_have_a_cloud():
    learned = learn_appearance([np.array([-2.0, -1.0, -1.5])] * 30, (4.0, 4.0))
    assert learned is not None
    assert learned.complaint(np.array([-2.0, -1.0, -1.5]), "m") is None
    assert learned.complaint(np.array([-2.0, -1.1, -1.5]), "m") is not None


def test_training_tiles_give_the_look_of_their_patients():
    names = tuple(f"p{i:02d}" for i in range(24))
    tiles = make_tiles(names)
    rng = np.random.default_rng(0)
    for index in range(len(tiles)):  # each patient its own shade
        shade = 10.0 ** -(0.2 + 0.01 * names.index(str(tiles.patient[index])))
        tiles.rgb[index] = np.clip(256 * shade * rng.uniform(0.99, 1.01, (50, 50, 3)), 0, 255)
    learned = appearance_of(tiles, 4.0)
    assert learned is not None
    assert learned.patients == 24
    np.testing.assert_allclose(np.exp(learned.mean), 10 ** np.log10(0.31), rtol=0.05)
    assert learned.mpp == (4.0, 4.0)


def test_a_card_keeps_the_appearance_and_none_where_there_is_none(tmp_path: Path):
    card = make_card(appearance=ROUND)
    write_card(card, tmp_path / "card.json")
    assert read_card(tmp_path / "card.json") == card
    assert "appearance" not in replace(card, appearance=None).to_json()


@pytest.mark.parametrize(
    "changes",
    [
        {"limit": 0.0},
        {"mean": [1.0, 2.0]},
        {"covariance": [[0.0] * 3] * 3},
        {"covariance": None},
        {"mpp": [4.0]},
    ],
)
def test_an_appearance_that_is_none_is_refused(changes: dict[str, Any]):
    fields = ROUND.to_json() | changes
    with pytest.raises(CardError, match="appearance"):
        Appearance.from_json(fields)
