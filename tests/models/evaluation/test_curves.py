"""Curves as pictures: what is dark where, and that every model is drawn."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models.evaluation.curves import (
    COLOURS,
    draw_confusion,
    draw_froc,
    draw_precision_recall,
    draw_reliability,
    draw_roc,
    draw_training,
)
from models.evaluation.regions import Froc

LABEL = np.tile([0, 1], 100)
PERFECT, GUESS = LABEL * 0.8 + 0.1, np.tile([0.3, 0.3, 0.6, 0.6], 50)


def pixels(png: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture.convert("RGB"))


def share_of(rgb: NDArray[np.uint8], colour: str) -> float:
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return float((np.abs(rgb.astype(int) - wanted).max(2) < 10).mean())


@pytest.mark.parametrize("draw", [draw_roc, draw_precision_recall, draw_reliability])
def test_each_model_has_a_line_of_its_own_colour(draw: Callable[..., bytes]) -> None:
    one = pixels(draw(LABEL, {"a": PERFECT}))
    two = pixels(draw(LABEL, {"a": PERFECT, "b": GUESS}))
    assert share_of(one, COLOURS[0]) > 0
    assert share_of(one, COLOURS[1]) == 0
    assert share_of(two, COLOURS[1]) > 0


def test_the_curve_of_a_perfect_model_runs_along_the_left_and_the_top() -> None:
    rgb = pixels(draw_roc(LABEL, {"a": PERFECT}))
    rows, columns = np.nonzero(np.abs(rgb.astype(int) - [0, 0x72, 0xB2]).max(2) < 10)
    height, width = rgb.shape[:2]
    in_middle = (columns > 0.3 * width) & (columns < 0.7 * width) & (rows < 0.8 * height)
    assert rows[in_middle].max() < 0.1 * height


def test_the_diagonal_of_a_good_confusion_is_dark() -> None:
    rgb = pixels(draw_confusion(np.array([[90, 10], [20, 80]]), ("a", "b"))).mean(2)
    dark = rgb < 120
    height, width = dark.shape
    upper, lower = dark[: height // 2], dark[height // 2 :]
    assert upper[:, : width // 2].mean() > 3 * upper[:, width // 2 :].mean()
    assert lower[:, width // 2 :].mean() > 3 * lower[:, : width // 2].mean()


def test_found_regions_are_drawn() -> None:
    froc = Froc(np.array([0.0, 1.0]), np.array([0.5, 1.0]), {0.25: 0.5}, 2, 1)
    assert share_of(pixels(draw_froc({"a": froc})), COLOURS[0]) > 0


def test_epochs_that_were_not_measured_are_left_out() -> None:
    history = {"loss": [0.9, 0.5, 0.4], "validation AUC": [None, 0.8, None]}
    drawn = pixels(draw_training(history, chosen=2))
    left, right = np.array_split(drawn, 2, axis=1)
    assert share_of(left, COLOURS[0]) > 0
    assert share_of(right, COLOURS[0]) == 0


def test_a_training_of_which_only_losses_are_known_is_drawn() -> None:
    drawn = pixels(draw_training({"loss": [2.0, 0.0]}))
    left, _, right = np.array_split(drawn, 3, axis=1)
    assert (left < 120).any()
    assert (right == 255).all()
