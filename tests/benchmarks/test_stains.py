import numpy as np
import pytest

from benchmarks.stains import CHANGES

RGB = np.random.default_rng(0).integers(60, 250, (3, 50, 50, 3), np.uint8)


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_keeps_the_tiles_and_alters_their_colours(name: str):
    changed = CHANGES[name](RGB)

    assert (changed.shape, changed.dtype) == (RGB.shape, np.uint8)
    assert (np.abs(changed.astype(int) - RGB).mean() > 1) == (name != "as they are")


def test_more_of_a_stain_is_darker_and_less_of_it_is_paler():
    pink = np.full((1, 8, 8, 3), (200, 150, 190), np.uint8)

    more, less = CHANGES["both x 1.4"](pink).mean(), CHANGES["both x 0.7"](pink).mean()

    assert more < pink.mean() - 5
    assert less > pink.mean() + 5
