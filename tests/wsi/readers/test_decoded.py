"""The tiles that are kept for a while."""

import numpy as np
import pytest
from numpy.typing import NDArray

from wsi.readers.decoded import DecodedTiles


def tile(value: int = 0) -> NDArray[np.uint8]:
    return np.full(100, value, np.uint8)


def test_the_tile_used_longest_ago_goes_first():
    tiles = DecodedTiles(limit_bytes=200)
    for key in (1, 2):
        tiles.get(key, lambda key=key: tile(key))
    assert tiles.find(1) is not None  # used again, so 2 is the oldest
    tiles.get(3, lambda: tile(3))
    assert tiles.find(2) is None
    assert [int(kept[0]) for kept in (tiles.find(1), tiles.find(3)) if kept is not None] == [1, 3]


def test_a_tile_larger_than_the_limit_is_given_and_not_kept():
    tiles = DecodedTiles(limit_bytes=99)
    assert tiles.get("a", lambda: tile(7))[0] == 7
    assert tiles.find("a") is None


def test_a_tile_that_could_not_be_decoded_is_tried_again():
    tiles = DecodedTiles(limit_bytes=200)

    def fail() -> NDArray[np.uint8]:
        raise ValueError("damaged")

    for _ in range(2):
        with pytest.raises(ValueError, match="damaged"):
            tiles.get("a", fail)
    assert tiles.get("a", lambda: tile(5))[0] == 5
