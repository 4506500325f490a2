from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.datasets import TileSet
from models.errors import DatasetError
from models.evaluation.selection import is_complete, select_pictures, with_completeness
from models.split import read_split
from tests.models.labelled import make_tiles, write_packed, write_published


def place(tiles: TileSet, *, columns: int, step: int) -> TileSet:
    """Each patient's tiles in rows of as many columns, a tile in `step` places."""
    index = np.tile(np.arange(len(tiles) // len(tiles.patients)), len(tiles.patients))
    xy = 50 * step * np.stack([index % columns, index // columns], 1) + 1
    return replace(tiles, xy=xy.astype(np.int64))


def complete_in(folder: Path) -> list[str]:
    pictures = select_pictures(folder, complete=True).pictures
    return pictures.patients


def test_patients_whose_tiles_lie_side_by_side_are_complete(tmp_path: Path):
    write_published(place(make_tiles(("a",), per_class=18), columns=6, step=1), tmp_path)
    write_published(place(make_tiles(("b",), per_class=18), columns=6, step=2), tmp_path)

    # 6 x 6 tiles have 60 borders in common: 120 / 36 neighbours a tile
    assert complete_in(tmp_path) == ["a"]
    assert select_pictures(tmp_path, complete=False).pictures.patients == ["b"]


def test_a_line_of_tiles_is_no_complete_slide(tmp_path: Path):
    """It has two neighbours a tile at most."""
    write_published(place(make_tiles(("a",), per_class=18), columns=36, step=1), tmp_path)
    with pytest.raises(DatasetError, match="no complete patient"):
        complete_in(tmp_path)


def test_the_list_knows_better_of_patients_with_as_many_tiles(tmp_path: Path):
    """Its sampled patients stay sampled, however their tiles lie; with more tiles it is silent."""
    sampled = next(
        row for row in read_split().rows if not row.complete and row.tiles in range(20, 60, 2)
    )
    tiles = place(make_tiles((sampled.patient,), per_class=sampled.tiles // 2), columns=5, step=1)
    more = place(make_tiles((sampled.patient,), per_class=sampled.tiles), columns=5, step=1)

    with pytest.raises(DatasetError, match="no complete patient"):
        complete_in(write_published(tiles, tmp_path / "as-listed"))
    assert complete_in(write_published(more, tmp_path / "more")) == [sampled.patient]


def test_what_the_packed_layout_says_stands(tmp_path: Path):
    tiles = place(make_tiles(("a", "b"), per_class=18, complete=("b",)), columns=6, step=1)
    assert complete_in(write_packed(tiles, tmp_path)) == ["b"]


@pytest.mark.real_data
def test_folders_say_of_the_real_patients_what_the_table_says(real_data: Path, tmp_path: Path):
    table = select_pictures(real_data / "idc").pictures
    without = table.with_items([replace(item, complete=False) for item in table.items])
    assert (is_complete(with_completeness(without)) == is_complete(table)).all()
