"""Every contract on phantoms of several sizes, to benchmarks/results and docs/performance.md.

    python -m benchmarks.all FOLDER [--size 20000] [--tile 256x0.5] [--tiles-at-most 1000] [--quick]

FOLDER keeps the phantoms (80,000 px: half a GB). Each slide and contract runs in a fresh process;
see benchmarks.measure. --quick tries everything on one small slide and keeps nothing; --peers runs
benchmarks.peers where there is a bar; --tables only writes the tables of results that are there.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.contracts import CONTRACTS, Contract
from benchmarks.record import write_record
from benchmarks.table import contract_table, growth, insert_tables, peers_table, read_all

SIZES_PX = (20_000, 40_000, 80_000)
PEER_RUNS = (("50x4", 40_000, ("tiatoolbox", "wsinfer")), ("256x0.5", 40_000, ("tiatoolbox",)))
QUICK_PX, QUICK_TILES = 8_000, 64
RESULTS = Path(__file__).parent / "results"
DOCUMENT = Path(__file__).parents[1] / "docs" / "performance.md"


def main() -> None:
    options = _parse()
    if options.peers:
        for run in PEER_RUNS:
            _compare(options.folder, *run)
    elif not options.tables:
        for size in options.size:
            for tile in options.tile:
                facts = _measure(options, tile, size)
                print(json.dumps(facts), flush=True)
                if not options.quick:
                    write_record(RESULTS / f"{tile.slug}-{size}.json", facts)
    if not options.quick:
        DOCUMENT.write_text(insert_tables(DOCUMENT.read_text("utf-8"), tables(RESULTS)), "utf-8")


def tables(folder: Path) -> str:
    """Of all the results in a folder, in Markdown."""
    slides, peers = read_all(folder)
    parts = []
    for contract in map(str, CONTRACTS):
        of_it = [result for result in slides if result["contract"] == contract]
        if of_it:
            parts += [f"### {contract}", contract_table(of_it), growth(of_it)]
    if peers:
        parts += ["### Against its peers", peers_table(peers)]
    return "\n\n".join(part for part in parts if part)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, action="append", help="side of the phantom, px")
    parser.add_argument("--tile", type=Contract.parse, action="append", help="PXxMPP")
    parser.add_argument("--tiles-at-most", type=int)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--peers", action="store_true", help="benchmarks.peers instead of this")
    parser.add_argument("--tables", action="store_true", help="measure nothing")
    options = parser.parse_args()
    options.size = [QUICK_PX] if options.quick else options.size or list(SIZES_PX)
    options.tile = options.tile or list(CONTRACTS)
    if options.quick:
        options.tiles_at_most = QUICK_TILES
    return options


def _compare(folder: Path, tile: str, size_px: int, peers: tuple[str, ...]) -> None:
    named = [part for peer in peers for part in ("--peer", peer)]
    out = RESULTS / f"peers-{tile}-{size_px}.json"
    command = [sys.executable, "-m", "benchmarks.peers", str(folder), "--size", str(size_px)]
    subprocess.run([*command, "--tile", tile, *named, "--json", str(out)], check=True)


def _measure(options: argparse.Namespace, tile: Contract, size_px: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.measure", str(options.folder)]
    command += ["--size", str(size_px), "--tile", tile.slug]
    if options.tiles_at_most:
        command += ["--tiles-at-most", str(options.tiles_at_most)]
    facts: dict[str, Any] = json.loads(subprocess.check_output(command, text=True))
    return facts


if __name__ == "__main__":
    main()
