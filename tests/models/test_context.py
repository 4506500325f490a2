"""A second look at a tile with its neighbours, against arithmetic cell by cell."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.card import read_card, write_card
from models.context import (
    Context,
    context_by_tile,
    describe_cells,
    logit_from_prob,
    why_no_context,
)
from models.errors import CardError
from models.painted import painted_card
from models.registry import resolve_model
from wsi.geometry import Mpp, Size
from wsi.grid import TileGrid

SIGMAS, RADII = (0.7, 1.5), (1, 2)


def make_context(**changed: Any) -> Context:
    """Reaches five cells."""
    return replace(
        Context(SIGMAS, RADII, (0.5, 1.0, -0.3, 0.7, 0.2, 0.4, -0.1), -0.2, 0.4), **changed
    )


def make_grid(
    rows: int = 7, columns: int = 9, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Logits, and a mask that lacks about a third of the cells."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, 3, (rows, columns)), rng.random((rows, columns)) < 0.7


def describe_slowly(
    logit: NDArray[np.float64], mask: NDArray[np.bool_], row: int, column: int
) -> list[float]:
    """The features of one cell, neighbour by neighbour."""
    found = {
        (r - row, c - column): float(logit[r, c])
        for r in range(mask.shape[0])
        for c in range(mask.shape[1])
        if mask[r, c]
    }
    means = []
    for sigma in SIGMAS:
        reach = int(np.ceil(3 * sigma))
        weights = {
            (r, c): np.exp(-(r * r + c * c) / (2 * sigma**2))
            for r, c in found
            if max(abs(r), abs(c)) <= reach
        }
        total = sum(weight * found[place] for place, weight in weights.items())
        means.append(total / sum(weights.values()))
    squares = [
        [value for (r, c), value in found.items() if max(abs(r), abs(c)) <= radius]
        for radius in RADII
    ]
    return [found[0, 0], *means, *map(max, squares), *map(min, squares)]


def test_each_cell_is_described_by_itself_and_those_around_it_that_are_there():
    logit, mask = make_grid()
    expected = [describe_slowly(logit, mask, r, c) for r, c in np.argwhere(mask)]

    np.testing.assert_allclose(describe_cells(logit, mask, SIGMAS, RADII), expected, atol=1e-12)


def test_the_answer_is_a_logistic_function_of_the_weighted_description():
    logit, mask = make_grid()
    context = make_context()
    score = [
        np.dot(context.weights, describe_slowly(logit, mask, r, c)) - 0.2
        for r, c in np.argwhere(mask)
    ]

    prob = context.apply(logit, mask)

    assert prob.dtype == np.float32
    np.testing.assert_allclose(prob[mask], 1 / (1 + np.exp(-np.array(score))), atol=1e-6)


def test_a_hole_stays_a_hole_whatever_lies_in_it():
    logit, mask = make_grid()
    prob = make_context().apply(logit, mask)
    again = make_context().apply(np.where(mask, logit, np.nan), mask)

    assert np.isnan(prob[~mask]).all()
    np.testing.assert_array_equal(again, prob)


@pytest.mark.parametrize("is_mirrored", [False, True])
@pytest.mark.parametrize("turns", range(4))
def test_a_turned_slide_has_a_turned_answer(turns: int, is_mirrored: bool):
    def turn(plane: NDArray[Any]) -> NDArray[Any]:
        return np.rot90(plane[:, ::-1] if is_mirrored else plane, turns)

    logit, mask = make_grid()
    prob = make_context().apply(logit, mask)

    np.testing.assert_allclose(make_context().apply(turn(logit), turn(mask)), turn(prob), atol=1e-6)


def test_what_lies_beyond_the_reach_changes_nothing():
    logit, mask = np.zeros((1, 20)), np.ones((1, 20), bool)
    context = make_context()
    assert context.reach == 5
    changed = logit.copy()
    changed[0, 12] = 9

    differs = context.apply(changed, mask) != context.apply(logit, mask)

    assert np.flatnonzero(differs[0]).tolist() == list(range(7, 18))


def test_a_stage_may_look_at_the_tile_alone():
    alone = Context((), (), (2.0,), 0.0, 0.5)
    found = alone.apply(np.array([[np.log(3), 0]]), np.array([[True, True]]))

    assert alone.reach == 0
    np.testing.assert_allclose(found, [[0.9, 0.5]], atol=1e-6)


def test_a_tile_without_neighbours_is_judged_by_itself():
    found = describe_cells(np.array([[2.5]]), np.array([[True]]), SIGMAS, RADII)
    np.testing.assert_allclose(found, np.full((1, 7), 2.5))


def test_a_score_that_cannot_be_surer_still_has_finite_odds():
    prob = np.array([0, 0.5, 0.75, 1], np.float32)
    np.testing.assert_allclose(logit_from_prob(prob), [-8, 0, np.log(3), 8], atol=1e-9)


def test_tiles_come_in_any_order():
    logit, mask = make_grid()
    indices = np.random.default_rng(1).permutation(np.argwhere(mask))
    raw = 1 / (1 + np.exp(-logit[tuple(indices.T)]))

    prob = make_context().apply_to_tiles(raw, indices + 3)

    np.testing.assert_allclose(prob, make_context().apply(logit, mask)[tuple(indices.T)], atol=1e-6)


def test_overlapping_tiles_look_at_those_side_by_side():
    """At half a tile's stride the grid is four grids, each half a tile from the next."""
    logit, mask = make_grid(8, 10)
    indices = np.argwhere(mask)
    raw = 1 / (1 + np.exp(-logit[mask]))

    prob = np.full(mask.shape, np.nan, np.float32)
    prob[mask] = make_context().apply_to_tiles(raw, indices, step=2)

    for row in range(2):
        for column in range(2):
            part = np.s_[row::2, column::2]
            alone = make_context().apply(logit[part], mask[part])
            np.testing.assert_allclose(prob[part], alone, atol=1e-6)


def test_a_slide_without_tiles_has_an_empty_answer():
    assert make_context().apply_to_tiles(np.empty(0), np.empty((0, 2), int)).shape == (0,)


def make_tile_grid(stride_px: int) -> TileGrid:
    return TileGrid.over(Size(400, 200), Mpp(4.0, 4.0), tile_px=50, mpp=4.0, stride_px=stride_px)


def test_the_channel_is_of_the_scores_before_calibration():
    card = replace(painted_card(), context=make_context())
    indices, prob = np.array([[0, 0], [0, 1]]), np.array([[0.2, 0.8], [0.4, 0.6]], np.float32)
    raw = np.array([0.7, 0.55], np.float32)

    (name,) = found = context_by_tile(card, make_tile_grid(50), indices, prob, {"raw": raw})

    assert name == "context"
    expected = make_context().apply(logit_from_prob(raw)[None], np.array([[True, True]]))[0]
    np.testing.assert_array_equal(found["context"], expected)
    alone = context_by_tile(card, make_tile_grid(50), indices, prob, {})["context"]
    np.testing.assert_array_equal(alone, make_context().apply_to_tiles(prob[:, 1], indices))


@pytest.mark.parametrize(("stride_px", "is_there"), [(50, True), (25, True), (30, False)])
def test_a_stride_that_does_not_divide_the_tile_leaves_the_channel_out_and_says_so(
    stride_px: int, is_there: bool
):
    card, grid = replace(painted_card(), context=make_context()), make_tile_grid(stride_px)
    indices, prob = np.array([[0, 0]]), np.array([[0.2, 0.8]], np.float32)

    assert bool(context_by_tile(card, grid, indices, prob, {})) == is_there
    assert (why_no_context(card, grid) is None) == is_there
    assert context_by_tile(painted_card(), grid, indices, prob, {}) == {}


def test_a_card_keeps_its_context_stage(tmp_path: Path):
    card = replace(painted_card(), context=make_context(metrics={"validation": {"auc": 0.9}}))
    write_card(card, tmp_path / "card.json")
    again = read_card(tmp_path / "card.json")

    assert again == card
    assert again.context is not None
    assert again.context.metrics == {"validation": {"auc": 0.9}}
    assert again.sha256 != painted_card().sha256


def test_a_card_without_one_is_what_it_was(tmp_path: Path):
    write_card(painted_card(), tmp_path / "card.json")

    assert "context" not in json.loads((tmp_path / "card.json").read_text())
    assert read_card(tmp_path / "card.json").context is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"weights": (1.0,)}, "has 1 weights; it needs one for the tile, 2 for the sigmas"),
        ({"sigmas": (1.5, 0.7)}, "each list rises"),
        ({"sigmas": (0.7, float("inf"))}, "each list rises"),
        ({"radii": (0, 1)}, "each list rises"),
        ({"radii": (1, 65)}, "at most 21.3 and 64"),
        ({"bias": float("nan")}, "these are numbers"),
        ({"threshold": 1.0}, "between 0 and 1"),
    ],
)
def test_a_context_stage_that_cannot_be_is_refused(changed: dict[str, Any], message: str):
    with pytest.raises(CardError, match=message):
        make_context(**changed)


@pytest.mark.parametrize("change", [{"bias": None}, {"more": 1}, {"weights": 3}, {"radii": ["a"]}])
def test_a_card_whose_context_stage_is_none_is_refused(tmp_path: Path, change: dict[str, Any]):
    fields = replace(painted_card(), context=make_context()).to_json()
    fields["context"] = fields["context"] | change
    (tmp_path / "card.json").write_text(json.dumps(fields))

    with pytest.raises(CardError, match=r"card\.json: context is .*, which is none"):
        read_card(tmp_path / "card.json")


def test_a_context_stage_of_other_weights_is_refused():
    card, weights = resolve_model("idc-resnet18")
    assert weights is not None
    with pytest.raises(CardError, match="fitted for weights with sha256"):
        replace(card, weights_sha256="0" * 64)


def test_the_default_model_ranks_better_with_its_neighbours_on_every_validation_slide():
    context = resolve_model("idc-resnet18").card.context
    assert context is not None
    found = context.metrics["validation"]
    assert len(found["slides"]) == 5
    assert all(one["auc"] > one["raw_auc"] for one in found["slides"].values())
    assert found["mean_auc"] >= 0.96
