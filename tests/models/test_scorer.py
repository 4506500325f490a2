"""A model's answers as a heatmap takes them: probabilities, raw ones, and how much they waver."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.calibration import Curve
from models.card import ModelCard
from models.painted import MeanChannelClassifier, painted_card
from models.scorer import Scorer, SymmetricClassifier, channels_of, symmetries

FOUR = ("normal", "benign", "in_situ", "painted")


def make_card(**changed: Any) -> ModelCard:
    return replace(painted_card(tile_px=16), **changed)


class CornerClassifier(MeanChannelClassifier):
    """Sees the top left quarter alone, so that its answer depends on how a tile is turned."""

    def predict_raw(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.card.require_tiles(rgb)
        return super().predict_raw(np.tile(rgb[:, :8, :8], (1, 2, 2, 1)))


def make_tiles(*corners: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """Red of each tile's quarters: top left, top right, bottom left, bottom right."""
    rgb = np.zeros((len(corners), 16, 16, 3), np.uint8)
    for tile, (top_left, top_right, bottom_left, bottom_right) in zip(rgb, corners, strict=True):
        tile[:8, :8, 0], tile[:8, 8:, 0] = top_left, top_right
        tile[8:, :8, 0], tile[8:, 8:, 0] = bottom_left, bottom_right
    return rgb


def test_an_uncalibrated_model_adds_nothing() -> None:
    card = make_card()
    assert channels_of(card) == ()
    rgb = make_tiles((51, 51, 51, 51))
    np.testing.assert_allclose(Scorer(MeanChannelClassifier(card)).predict(rgb), [[0.8, 0.2]])


def test_a_calibrated_model_shows_its_raw_probability_too() -> None:
    card = make_card(temperature=0.5)  # 0.2 against 0.8, squared: 0.04 against 0.64
    rgb = make_tiles((51, 51, 51, 51))
    found = Scorer(MeanChannelClassifier(card)).predict(rgb)
    np.testing.assert_allclose(found, [[16 / 17, 1 / 17, 0.2]], rtol=1e-6)
    assert channels_of(card) == ("raw",)


def test_the_8_symmetries_are_all_different_and_the_tile_is_the_first() -> None:
    rgb = np.arange(2 * 3 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3, 3)
    views = symmetries(rgb)
    np.testing.assert_array_equal(views[0], rgb)
    assert len({view.tobytes() for view in views}) == 8
    for view in views:
        assert sorted(view[1].reshape(-1, 3).tolist()) == sorted(rgb[1].reshape(-1, 3).tolist())


def test_tta_answers_with_the_mean_over_the_symmetries_and_its_deviation() -> None:
    # each quarter comes to the top left in two of the eight: 1, 0, 0, 0 has mean 1/4
    scorer = Scorer(CornerClassifier(make_card()), tta=True)
    assert scorer.channels == ("uncertainty",)
    even, odd = scorer.predict(make_tiles((102, 102, 102, 102), (255, 0, 0, 0)))
    np.testing.assert_allclose(even, [0.6, 0.4, 0], atol=1e-7)
    np.testing.assert_allclose(odd, [0.75, 0.25, np.sqrt(3) / 4], atol=1e-6)


def test_tta_calibrates_the_mean_not_each() -> None:
    scorer = Scorer(CornerClassifier(make_card(temperature=0.5)), tta=True)
    # raw 0.8 in two of eight, 0.4 in the others: mean 0.5, which no temperature moves
    found = scorer.predict(make_tiles((204, 102, 102, 102)))[0]
    each = np.array([0.64 / 0.68, *[0.16 / 0.52] * 3])
    np.testing.assert_allclose(found, [0.5, 0.5, 0.5, each.std()], atol=1e-6)


def test_uncertainty_of_several_classes_is_that_of_the_winning_one() -> None:
    card = make_card(classes=FOUR)
    scorer = Scorer(CornerClassifier(card), tta=True)
    # painted 0.8 in half the views, 0.2 in the others: mean 0.5 wins, deviation 0.3
    found = scorer.predict(make_tiles((204, 204, 51, 51)))[0]
    np.testing.assert_allclose(found, [1 / 6, 1 / 6, 1 / 6, 0.5, 0.3], atol=1e-6)
    # painted 0 and the rest 1/3 each, but for a quarter of the views where all turn to painted
    found = scorer.predict(make_tiles((255, 0, 0, 0)))[0]
    np.testing.assert_allclose(found[:4], 0.25, atol=1e-7)


def test_a_tile_that_looks_the_same_from_all_sides_is_certain() -> None:
    scorer = Scorer(CornerClassifier(make_card(temperature=2)), tta=True)
    rgb = make_tiles((200, 200, 200, 200))
    assert scorer.predict(rgb)[0, 3] == pytest.approx(0, abs=1e-7)


def test_tta_of_no_tiles_is_no_rows() -> None:
    scorer = Scorer(CornerClassifier(make_card(temperature=2)), tta=True)
    assert scorer.predict(np.empty((0, 16, 16, 3), np.uint8)).shape == (0, 4)


def test_curves_are_raw_probabilities_corrected() -> None:
    card = make_card(curves=(Curve((0.0, 0.5, 1.0), (0.1, 0.2, 0.9)),))
    found = Scorer(MeanChannelClassifier(card)).predict(make_tiles((51, 51, 51, 51)))
    np.testing.assert_allclose(found, [[0.86, 0.14, 0.2]], atol=1e-6)


def test_a_symmetric_classifier_answers_as_the_scorer_does() -> None:
    inner = CornerClassifier(make_card(temperature=0.5))
    rgb = make_tiles((204, 102, 0, 51), (255, 0, 0, 0))
    answer = SymmetricClassifier(inner).predict(rgb)
    np.testing.assert_allclose(answer, Scorer(inner, tta=True).predict(rgb)[:, :2], atol=1e-6)
    np.testing.assert_allclose(answer, SymmetricClassifier(inner).predict(np.rot90(rgb, 1, (1, 2))))
    assert SymmetricClassifier(inner).device == "cpu, exact, 8 symmetries"
