from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.recipes import choose_pictures, find_runs, make_table
from models.card import read_card
from models.errors import ModelError
from models.evaluate import assess
from models.evaluation.selection import select_pictures
from models.split import read_split
from models.train import train
from tests.models.labelled import make_tiles, write_packed
from tests.models.training_runs import COLOUR, registered, write_data


@pytest.fixture(autouse=True)
def architectures() -> Iterator[None]:
    with registered():
        yield


def test_a_table_has_a_row_of_each_finished_run_with_the_figures_of_an_evaluation(tmp_path: Path):
    data, runs = write_data(tmp_path / "data"), tmp_path / "runs"
    recipe = replace(COLOUR, name="colour")
    train(recipe, data, runs / "colour", device="cpu")
    train(replace(recipe, name="idc-resnet18"), data, runs / "idc-resnet18", device="cpu")
    (runs / "unfinished").mkdir()
    (runs / "unfinished" / "log.json").touch()

    cards = find_runs(runs)
    found = assess(cards, select_pictures(data, part="validation", complete=False), rounds=20)
    table = make_table([read_card(card) for card in cards], found).splitlines()

    assert [card.stem for card in cards] == ["colour", "idc-resnet18"]
    assert len(table) == 2 + 2
    assert len({line.count("|") for line in table}) == 1
    for one in found.models:
        auc = one.evaluation.metrics["auc"]
        row = next(line for line in table if line.startswith(f"| {one.name} |"))
        assert f"| {auc.value:.3f} ({auc.low:.3f} to {auc.high:.3f}) |" in row
        assert "| 3 |" in row  # epochs


def test_the_best_ranking_comes_first(tmp_path: Path):
    data, runs = write_data(tmp_path / "data"), tmp_path / "runs"
    wrong = write_data(tmp_path / "exchanged", exchanged=True)
    train(replace(COLOUR, name="a"), wrong, runs / "a", device="cpu")
    train(replace(COLOUR, name="b"), data, runs / "b", device="cpu")
    cards = find_runs(runs)

    found = assess(cards, select_pictures(data, part="validation", complete=False), rounds=20)
    table = make_table([read_card(card) for card in cards], found).splitlines()

    assert [line[:4] for line in table[2:]] == ["| b ", "| a "]


def test_a_folder_without_a_finished_run_says_how_to_make_one(tmp_path: Path):
    with pytest.raises(ModelError, match="wsi train RECIPE"):
        find_runs(tmp_path)


def test_patients_listed_as_sampled_are_scored_where_all_their_tiles_are_there(tmp_path: Path):
    split = read_split()
    sampled = split.patients("test", complete=False)[:2]
    whole = split.patients("test", complete=True)[:1]
    tiles = make_tiles((*sampled, *whole), per_class=2)
    data = write_packed(replace(tiles, complete=np.ones(len(tiles), np.bool_)), tmp_path / "data")

    assert sorted(choose_pictures(data, "test").pictures.patients) == sorted(sampled)
