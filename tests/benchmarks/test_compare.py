"""Sides of a comparison, with numbers to check by hand."""

import numpy as np
import pytest

from benchmarks.peers.compare import Side, agreement, speed_rows
from benchmarks.table import peers_table


def make_side(
    xy0: list[tuple[int, int]],
    positive: list[float],
    *,
    name: str = "one",
    seconds: float = 10.0,
    stages: dict[str, float] | None = None,
) -> Side:
    score = np.array(positive, np.float32)
    prob = np.stack([1 - score, score], axis=1)
    return Side(name, np.array(xy0, np.int64), prob, seconds, stages or {})


def test_the_ratio_is_our_tiles_a_second_by_theirs() -> None:
    ours = make_side(
        [(0, 0), (800, 0)], [0.1, 0.9], stages={"mask": 0.5, "score": 1.5, "export": 7}
    )
    theirs = make_side([(0, 0)], [0.1], name="theirs", seconds=2.0)
    first, second = speed_rows(ours, [theirs])
    assert first["tiles/s"] == 1.0  # 2 tiles in 0.5 + 1.5 s: the export is left out
    assert second["tiles/s"] == 0.5
    assert second["ours / theirs"] == 2.0


def test_scores_are_compared_where_both_have_the_tile() -> None:
    ours = make_side([(0, 0), (800, 0), (0, 800)], [0.2, 0.6, 0.5])
    theirs = make_side([(0, 800), (800, 0), (1600, 0)], [0.5, 0.4, 0.0])
    found = agreement(ours, theirs)
    assert found.tiles == 2
    assert found.largest == pytest.approx(0.2)  # tile (800, 0)
    assert found.median == pytest.approx(0.1)  # of 0 and 0.2
    assert found.same_class == 0.5  # 0.6 and 0.4 lie on two sides


def test_sides_that_have_no_tile_in_common_are_refused() -> None:
    with pytest.raises(ValueError, match="no tile in common"):
        agreement(make_side([(0, 0)], [0.5]), make_side([(1, 0)], [0.5]))


def test_corners_are_told_apart_by_both_numbers() -> None:
    found = agreement(make_side([(1, 0)], [0.5]), make_side([(0, 1), (1, 0)], [0.9, 0.5]))
    assert (found.tiles, found.largest) == (1, 0.0)


def test_a_row_has_what_the_table_shows() -> None:
    ours = make_side([(0, 0)], [0.5], stages={"mask": 1, "score": 3})  # 4 of its 10 s
    rows = speed_rows(ours, [make_side([(0, 0)], [0.25], name="theirs", seconds=2.0)])
    text = peers_table([{"tile": "50 px", "slide": "s.tiff", "sides": rows}])
    assert "| theirs | 1 | 0.5 | **0.50** | 0.20 | 1 | 0.25000 | 100.0 % |" in text.replace(
        "| | ", "| "
    )
