from dataclasses import replace

import numpy as np

from models.datasets import TileSet
from models.training.sampling import cut_batches, draw_epoch
from tests.models.labelled import make_tiles
from tests.models.training_runs import SMALL


def joined(*sets: TileSet) -> TileSet:
    return TileSet(
        *(
            np.concatenate([getattr(one, name) for one in sets])
            for name in ("rgb", "label", "patient", "xy", "complete")
        )
    )


def test_an_epoch_takes_all_of_small_patients_and_a_fresh_draw_of_large_ones():
    tiles = joined(make_tiles(("1",), per_class=50), make_tiles(("2",), per_class=3))
    config = replace(SMALL, patient_tiles=20)
    first, second = (set(draw_epoch(tiles, config, epoch).tolist()) for epoch in (0, 1))
    assert len(first) == len(second) == 26
    assert set(range(100, 106)) <= first & second
    assert first != second


def test_an_epoch_of_all_visits_each_tile_once_in_another_order():
    tiles = make_tiles(("1", "2"), per_class=10)
    config = replace(SMALL, sampler="all", patient_tiles=1)
    first, second = (draw_epoch(tiles, config, epoch).tolist() for epoch in (0, 1))
    assert sorted(first) == sorted(second) == list(range(40))
    assert first != second


def test_a_balanced_epoch_visits_a_rare_class_as_often():
    tiles = make_tiles(("1",), per_class=500)
    kept = np.flatnonzero((tiles.label == 0) | (np.arange(1000) % 10 == 0))
    tiles = tiles.select(kept)
    drawn = draw_epoch(tiles, replace(SMALL, sampler="balanced"), 0)
    assert len(drawn) == len(tiles) == 550
    assert 225 <= tiles.label[drawn].sum() <= 325  # 275, and four deviations of 12


def test_batches_are_full_and_a_small_set_is_one():
    cut = cut_batches(np.arange(10), 4)
    assert [batch.tolist() for batch in cut] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert [batch.tolist() for batch in cut_batches(np.arange(3), 4)] == [[0, 1, 2]]
