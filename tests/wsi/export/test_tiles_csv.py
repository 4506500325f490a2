import csv
from pathlib import Path

import numpy as np

from tests.wsi.export.sources import make_source
from wsi.export import export
from wsi.geometry import Box, Mpp, Size


def read_rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_a_line_a_tile_in_level_0_px_with_a_probability_a_class(tmp_path: Path):
    source = make_source(indices=[(0, 1), (2, 3)], prob=[[0.75, 0.25], [0.125, 0.875]])
    assert export(source, "csv", tmp_path / "tiles.csv").read_text() == (
        "minx,miny,width,height,prob_non_idc,prob_idc\n"
        "800,0,800,800,0.75,0.25\n"
        "2400,1600,800,800,0.125,0.875\n"
    )


def test_probabilities_come_back_as_the_same_float32(tmp_path: Path):
    positive = np.random.default_rng(1).random(12).astype(np.float32)
    positive[0], positive[1] = np.float32(1e-30), np.nextafter(np.float32(1), np.float32(0))
    prob = np.stack([1 - positive, positive], axis=1)
    indices = [(r, c) for r in range(3) for c in range(4)]
    rows = read_rows(export(make_source(indices=indices, prob=prob), "csv", tmp_path / "t.csv"))
    back = np.array([row[4:] for row in rows[1:]], np.float64).astype(np.float32)
    assert np.array_equal(back, prob)


def test_bounds_are_not_subtracted(tmp_path: Path):
    source = make_source(bounds=Box(1000, 500, 1600, 1600), indices=[(1, 1)])
    rows = read_rows(export(source, "csv", tmp_path / "t.csv"))
    assert rows[1][:4] == ["1800", "1300", "800", "800"]


def test_widths_are_differences_of_starts_where_a_tile_is_no_whole_number_of_px(tmp_path: Path):
    # 50 px at 0.33 um on a slide of 1 um by 0.5 um: 16.5 px wide, 33 px high
    source = make_source(
        size0=Size(66, 33), mpp=Mpp(1.0, 0.5), tile_mpp=0.33, indices=[(0, c) for c in range(4)]
    )
    rows = read_rows(export(source, "csv", tmp_path / "t.csv"))
    assert [row[:4] for row in rows[1:]] == [
        ["0", "0", "17", "33"], ["17", "0", "16", "33"], ["33", "0", "17", "33"],
        ["50", "0", "16", "33"],
    ]  # fmt: skip


def test_a_class_with_a_comma_in_its_name_stays_one_column(tmp_path: Path):
    source = make_source(classes=("a, b", "idc"), indices=[(0, 0)])
    assert read_rows(export(source, "csv", tmp_path / "t.csv"))[0][4:] == ["prob_a, b", "prob_idc"]


def test_a_slide_without_tissue_has_a_header_alone(tmp_path: Path):
    source = make_source(indices=[], prob=[])
    assert len(read_rows(export(source, "csv", tmp_path / "t.csv"))) == 1


def test_more_tiles_than_a_block_are_all_written_in_order(tmp_path: Path):
    indices = [(r, c) for r in range(70) for c in range(60)]  # 4200; a block has 4096
    source = make_source(size0=Size(60 * 800, 70 * 800), indices=indices)
    rows = read_rows(export(source, "csv", tmp_path / "t.csv"))[1:]
    assert [(int(y) // 800, int(x) // 800) for x, y, *_ in rows] == indices
