"""Results of benchmarks to the tables of docs/performance.md, between two marks."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["BEGIN", "END", "contract_table", "growth", "insert_tables", "peers_table", "read_all"]

BEGIN = "<!-- made by benchmarks.all: begin -->"
END = "<!-- made by benchmarks.all: end -->"

STAGES = {
    "hash": "waiting for the sha256 of the slide, s",
    "mask": "mask, s",
    "score": "reading and network, overlapped, s",
    "assemble": "assemble, s",
    "export": "export, s",
    "whole": "**whole, s**",
}

Result = dict[str, Any]
"""What benchmarks.measure prints for one slide and contract."""


def read_all(folder: Path) -> tuple[list[Result], list[Result]]:
    """Of slides, by size; and of peers, by the tile's side."""
    results = [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))]
    slides = [result for result in results if "size_px" in result]
    peers = [result for result in results if "sides" in result]
    peers.sort(key=lambda result: int(result["tile"].split()[0]))
    return sorted(slides, key=lambda result: result["size_px"]), peers


def insert_tables(text: str, tables: str) -> str:
    """The text with what is between its marks replaced; at its end where it has none."""
    before, begun, rest = text.partition(BEGIN)
    after = rest.partition(END)[2] if begun else "\n"
    kept = before if begun else text.rstrip() + "\n\n"
    return kept + "\n\n".join((BEGIN, tables.strip(), END)) + after


def contract_table(results: list[Result]) -> str:
    """One contract's results, a column a slide."""
    columns = [_column(result) for result in results]
    head = [f"{result['size_px']:,} px" for result in results]
    rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
    return _table(["", *head], rows)


def growth(results: list[Result]) -> str:
    """Of memory, from the smallest slide to the largest; empty where there is but one."""
    if len(results) < 2:
        return ""
    small, large = results[0], results[-1]
    peak = large["memory_mib"]["peak"] / small["memory_mib"]["peak"]
    above = _above_mib(large) / _above_mib(small)
    return (
        f"From {small['size_px']:,} to {large['size_px']:,} px the peak grows {peak:.2f}-fold, its "
        f"part above the loaded process {above:.2f}-fold."
    )


def peers_table(results: list[Result]) -> str:
    """A row a side and contract."""
    head = ["tiles", "", "tiles scored", "tiles/s", "ours ÷ theirs", "ours with exports ÷ theirs",
            "tiles in common", "largest difference of a score", "same class"]  # fmt: skip
    rows = [
        [
            f"{result['tile']}, {result['slide']}" if not number else "",
            *_peer_cells(side, result["sides"][0]),
        ]
        for result in results
        for number, side in enumerate(result["sides"])
    ]
    return _table(head, rows)


def _column(result: Result) -> dict[str, str]:
    seconds, tiles = result["seconds"], result["tiles_scored"]
    beside_s = seconds["mask"] + seconds["assemble"] + seconds["export"]
    read_floor_s, network_s = result["decoding_floor_s"], tiles / result["network_tiles_s"]
    # a part of the slide needs that part of its native tiles
    floor_s = read_floor_s * tiles / max(1, result["tiles"]) + network_s
    memory = result["memory_mib"]
    return {
        "tiles with tissue": f"{result['tiles']:,}",
        "of these scored": f"{tiles:,}" if tiles != result["tiles"] else "all",
        "the network": result["device"],
        "native tiles of the file that they need": f"{result['native_tiles']:,}",
        **{name: f"{seconds[stage]:.2f}" for stage, name in STAGES.items()},
        "tiles/s, whole": f"{tiles / seconds['whole']:,.1f}",
        "reading alone, all tiles, s": f"{result['reading_s']:.2f}",
        "floor: decoding, all tiles, s": f"{read_floor_s:.2f}",
        "floor: network alone, tiles/s": f"{result['network_tiles_s']:,.1f}",
        "**floor ÷ reading alone**": f"{read_floor_s / result['reading_s']:.2f}",
        "**floor ÷ pipeline**": f"{floor_s / seconds['whole']:.2f}",
        "(mask + assemble + export) ÷ whole": f"{beside_s / seconds['whole']:.2f}",
        "memory with the model loaded, MiB": f"{memory['before']:,.0f}",
        "memory at the peak, MiB": f"{memory['peak']:,.0f}",
    }


def _peer_cells(side: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    if side is ours:
        return [side["side"], f"{side['tiles']:,}", f"{side['tiles/s']:,.1f}", "", "", "", "", ""]
    return [
        side["side"],
        f"{side['tiles']:,}",
        f"{side['tiles/s']:,.1f}",
        f"**{side['ours / theirs']:.2f}**",
        f"{ours['tiles'] / ours['whole, s'] / side['tiles/s']:.2f}",
        f"{side['tiles in common']:,}",
        f"{side['largest difference']:.5f}",
        f"{100 * side['same class']:.1f} %",
    ]


def _above_mib(result: Result) -> float:
    memory = result["memory_mib"]
    return float(memory["peak"] - memory["before"])


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in lines)
