"""Tiles a second of this project and of its peers: one slide, one network, one after the other.

    python -m benchmarks.peers FOLDER [--size 40000] [--tile 50x4] [--peer tiatoolbox] [--form auto]
        [--json FILE]

FOLDER keeps the peers' environments and the phantoms; they are made the first time, and by
--prepare alone. Each side runs in a process of its own that has imported everything, loaded the
weights and scored a small slide before its clock starts.

The clock covers mask, reading and network of ours and of WSInfer; of TIAToolbox the whole run,
which also writes its scores. Peers choose tiles by their own masks, so each side's own number of
tiles counts, and scores are compared where both have the tile. A peer's loader runs without
workers, and with one a core; the faster counts. This project computes as it does by default, in
bfloat16 where the processor has it; peers in float32. --form plain or filtered: in float32 as well;
--form int8: in 8 bits, in ranges seen on the small slide. How far its probabilities are from the
peers' is printed.
"""

import argparse
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contracts import Contract
from benchmarks.peers.compare import Side, speed_rows
from benchmarks.peers.environments import PEERS, make_environment, versions
from benchmarks.peers.job import JOB, RESULT, SCORES, Job, write_job
from benchmarks.phantoms import phantom
from benchmarks.record import write_record
from models.speed.tuning import FORMS
from wsi.cores import usable_cores

WARM_PX = 8_000
OURS = "this project"


def main() -> None:
    options = _parse()
    folder = options.folder.absolute()
    venvs = folder / ("venvs-own-torch" if options.own_torch else "venvs")
    pythons = {
        name: make_environment(PEERS[name], venvs / name, own_torch=options.own_torch)
        for name in options.peer
    }
    job = _prepare_job(options, folder)
    if options.prepare:
        return
    ours = _measure(OURS, Path(sys.executable), "on_ours", job)
    theirs = [_fastest(name, python, job) for name, python in pythons.items()]
    rows = speed_rows(ours, theirs)
    for row in rows:
        print("\n".join(f"{name:<28} {value}" for name, value in row.items()), end="\n\n")
    if options.json:
        about = {"slide": Path(job.slide).name, "tile": str(options.tile)}
        installed = {name: versions(python) for name, python in pythons.items()}
        write_record(options.json, about | {"peers": installed, "sides": rows})


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=40_000, help="side of the phantom, px")
    parser.add_argument("--tile", type=Contract.parse, default=Contract(50, 4.0), help="PXxMPP")
    parser.add_argument("--peer", action="append", choices=PEERS)
    parser.add_argument("--batch", type=int, default=64, help="tiles in a batch of the peers")
    parser.add_argument("--rounds", type=int, default=1, help="the fastest one counts")
    parser.add_argument("--form", default="auto", choices=FORMS, help="how this project computes")
    parser.add_argument("--own-torch", action="store_true", help="what the peer asks for, not ours")
    parser.add_argument("--prepare", action="store_true", help="make what is needed, and stop")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.peer = options.peer or list(PEERS)
    return options


def _prepare_job(options: argparse.Namespace, folder: Path) -> Job:
    from benchmarks.peers.weights import write_peer_model

    tile: Contract = options.tile
    return Job(
        slide=str(phantom(folder, options.size)),
        warm=str(phantom(folder, WARM_PX)),
        model=str(write_peer_model(tile, folder / "models" / tile.slug)),
        tile_px=tile.tile_px,
        mpp=tile.mpp,
        batch_size=options.batch,
        workers=0,
        rounds=options.rounds,
        out=str(folder / "out"),
        form=options.form,
    )


def _fastest(peer: str, python: Path, job: Job) -> Side:
    counts = (0, usable_cores())
    sides = [
        _measure(f"{peer}, {workers} workers", python, f"on_{peer}", replace(job, workers=workers))
        for workers in counts
    ]
    return max(sides, key=lambda side: side.tiles_per_second)


def _measure(name: str, python: Path, program: str, job: Job) -> Side:
    """Runs one side to its end; what it prints is shown where it fails."""
    out = Path(job.out)
    shutil.rmtree(out, ignore_errors=True)
    command = [str(python), "-m", f"benchmarks.peers.{program}", str(write_job(job, out / JOB))]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    facts: dict[str, Any] = json.loads((out / RESULT).read_text("utf-8"))
    with np.load(out / SCORES) as scores:
        return Side(
            name,
            scores["xy0"],
            scores["prob"],
            min(facts["seconds"]),
            facts["stages"],
            facts["device"],
        )


if __name__ == "__main__":
    main()
