"""Pictures of any size get one probability each."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.datasets import open_data
from models.errors import DatasetError
from models.evaluation.scoring import cut_for, score_pictures
from models.painted import MeanChannelClassifier, painted_card
from tests.models.labelled import make_tiles, write_published
from tests.models.pictures import write_bach, write_picture

BACH_MPP = 0.42


def test_a_tile_has_the_answer_of_the_classifier(tmp_path: Path):
    tiles = make_tiles()
    pictures = open_data(write_published(tiles, tmp_path))
    model = MeanChannelClassifier(painted_card())
    found = score_pictures(model, pictures, cut_for(model.card, pictures))
    np.testing.assert_array_equal(found.prob, model.predict(tiles.rgb))
    np.testing.assert_array_equal(found.of_tiles, found.prob)


def test_a_picture_has_the_mean_of_its_tiles(tmp_path: Path):
    """64 x 32 px at 0.42 are two tiles of 32 px: red 51 and red 153, on average 0.4."""
    photos = write_bach(tmp_path, per_class=1, width=64, height=32)
    rgb = np.zeros((32, 64, 3), np.uint8)
    rgb[:, :32, 0], rgb[:, 32:, 0] = 51, 153
    write_picture(photos / "Normal" / "n001.tif", rgb)
    pictures = open_data(tmp_path / "ICIAR2018_BACH_Challenge")
    model = MeanChannelClassifier(painted_card(tile_px=32, mpp=BACH_MPP))
    seen: list[tuple[int, int]] = []
    found = score_pictures(
        model, pictures, cut_for(model.card, pictures), lambda *done: seen.append(done)
    )
    first = [item.where.endswith("n001.tif") for item in pictures.items].index(True)
    assert found.prob.shape == (4, 2)
    assert found.prob[first, 1] == pytest.approx(0.4)
    assert found.of_tiles[found.picture == first, 1] == pytest.approx([0.2, 0.6])
    assert len(found.of_tiles) == 8
    assert seen[-1] == (4, 4)


def test_the_answer_does_not_depend_on_what_is_handed_over_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write_bach(tmp_path, per_class=2, width=64, height=32)
    pictures = open_data(tmp_path / "ICIAR2018_BACH_Challenge")
    model = MeanChannelClassifier(painted_card(tile_px=32, mpp=BACH_MPP))
    cut = cut_for(model.card, pictures)
    at_once = score_pictures(model, pictures, cut)
    monkeypatch.setattr("models.evaluation.scoring.STEP_PX", 1)
    np.testing.assert_array_equal(score_pictures(model, pictures, cut).prob, at_once.prob)


def test_damaged_pictures_are_named(tmp_path: Path):
    folder = write_published(make_tiles(), tmp_path)
    damaged = next(folder.rglob("*.png"))
    damaged.write_bytes(b"no picture")
    pictures = open_data(folder)
    model = MeanChannelClassifier(replace(painted_card()))
    with pytest.raises(DatasetError, match=damaged.name):
        score_pictures(model, pictures, cut_for(model.card, pictures))
