"""Which part of a slide is scored where all of it would take too long."""

import numpy as np
import pytest

from benchmarks.contracts import Contract
from benchmarks.measure import middle_rows
from benchmarks.record import rounded


@pytest.mark.parametrize(
    ("at_most", "rows"),
    [
        (3, (2, 3)),  # the middle row alone has 4: one row at least
        (4, (2, 3)),
        (8, (1, 4)),
        (11, (1, 4)),
        (12, (0, 5)),
    ],
)
def test_rows_are_taken_from_the_middle_outwards(at_most: int, rows: tuple[int, int]) -> None:
    assert middle_rows(np.array([2, 2, 4, 2, 2]), at_most) == rows


def test_rows_end_at_the_edge_of_the_grid() -> None:
    assert middle_rows(np.array([9, 1, 1]), 10) == (0, 2)


def test_a_contract_is_read_as_it_is_named() -> None:
    contract = Contract.parse("256x0.5")
    assert (contract.tile_px, contract.mpp, contract.slug) == (256, 0.5, "256x0.5")
    assert str(contract) == "256 px at 0.5 um/px"


def test_five_digits_are_kept_and_whole_numbers_whole() -> None:
    assert rounded({"a": [0.123456789, 123456789], "b": 98765.4321}) == {
        "a": [0.12346, 123456789],
        "b": 98765.0,
    }
