"""Results to tables: figures that can be checked by hand."""

import json
from pathlib import Path
from typing import Any

from benchmarks.all import tables
from benchmarks.table import BEGIN, END, contract_table, growth, insert_tables

CONTRACT = "50 px at 4 um/px"


def make_result(size_px: int = 20_000, peak: float = 1100.0, **fields: Any) -> dict[str, Any]:
    """100 of 400 tiles scored in 10 s, of which the network needs 5 and decoding 1."""
    seconds = {
        "hash": 0.1,
        "mask": 0.5,
        "score": 8.0,
        "assemble": 0.2,
        "export": 0.3,
        "whole": 10.0,
    }
    return {
        "contract": CONTRACT,
        "device": "cpu, bfloat16",
        "size_px": size_px,
        "tiles": 400,
        "tiles_scored": 100,
        "native_tiles": 25,
        "seconds": seconds,
        "network_tiles_s": 20.0,
        "reading_s": 5.0,
        "decoding_floor_s": 4.0,
        "memory_mib": {"before": 1000.0, "peak": peak},
    } | fields


def rows_of(table: str) -> dict[str, list[str]]:
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    return {row[0]: row[1:] for row in cells}


def test_the_floor_of_a_part_takes_that_part_of_the_decoding() -> None:
    rows = rows_of(contract_table([make_result()]))
    assert rows["**floor ÷ pipeline**"] == ["0.60"]  # (4 * 100 / 400 + 100 / 20) / 10
    assert rows["**floor ÷ reading alone**"] == ["0.80"]
    assert rows["(mask + assemble + export) ÷ whole"] == ["0.10"]


def test_a_part_is_said_to_be_one() -> None:
    whole = make_result(tiles=100)
    assert rows_of(contract_table([make_result(), whole]))["of these scored"] == ["100", "all"]


def test_memory_grows_from_the_smallest_slide_to_the_largest() -> None:
    text = growth([make_result(), make_result(40_000), make_result(80_000, peak=1210.0)])
    assert "20,000 to 80,000 px" in text
    assert "1.10-fold" in text  # 1210 / 1100
    assert "2.10-fold" in text  # 210 / 100


def test_one_slide_has_no_growth() -> None:
    assert growth([make_result()]) == ""


def test_tables_replace_what_is_between_their_marks_and_nothing_else() -> None:
    once = insert_tables("# Title\n\nbefore\n", "old")
    twice = insert_tables(once + "after\n", "new")
    assert twice == f"# Title\n\nbefore\n\n{BEGIN}\n\nnew\n\n{END}\nafter\n"


def test_results_are_sorted_by_size_and_not_by_name(tmp_path: Path) -> None:
    for size in (20_000, 100_000):
        (tmp_path / f"{size}.json").write_text(json.dumps(make_result(size)))
    assert "| 20,000 px | 100,000 px |" in tables(tmp_path)
