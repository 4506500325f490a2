"""The network alone, on tiles that are there: each way of computing beside its arithmetic.

    python -m benchmarks.network [--model idc-resnet18] [--int8 DATA] [--json FILE]

Operations are those of the network as it is written, two a multiplication and addition: a way that
needs fewer of them has a higher rate than it computes. Beside it, in the same run, the rate of a
large product of float32 matrices. --int8: labelled tiles, on which int8 is observed and compared.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.record import write_record
from models.network import load_network
from models.registry import resolve_model
from models.speed.accuracy import tune_int8
from models.speed.trials import Trial, candidates, try_forms
from service.tuning import sample_tiles

MATRIX = 2048
ROUNDS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="idc-resnet18")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--int8", type=Path, help="labelled tiles")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    facts = measure(options.model, options.device, options.int8)
    print(
        f"{facts['gflop_a_tile']:.3f} GFLOP a tile; matrices {facts['matrix_gflop_s']:.0f} GFLOP/s"
    )
    for way in facts["ways"]:
        print(f"{way['gflop_s']:7.0f} GFLOP/s  {way['text']}")
    print(f"int8 less float32: {facts['int8_loss']}")
    if options.json:
        write_record(options.json, facts)


def measure(model: str, device: str, int8_data: Path | None) -> dict[str, Any]:
    rgb, ways, loss = sample_tiles(model), candidates(model, device), None
    if int8_data is not None:
        int8, found = tune_int8(model, int8_data)
        ways.append(int8)
        loss = vars(found)
    gflop = _gflop_a_tile(model)
    before = _matrix_gflop_s(device)
    trials = list(try_forms(model, rgb, ways, device))
    return {
        "model": model,
        "threads": torch.get_num_threads(),
        "gflop_a_tile": gflop,
        "matrix_gflop_s": max(before, _matrix_gflop_s(device)),
        "ways": [_describe(trial, gflop) for trial in trials],
        "int8_loss": loss,
    }


def _describe(trial: Trial, gflop: float) -> dict[str, Any]:
    return trial.to_json() | {"gflop_s": gflop * trial.tiles_s, "text": trial.to_text()}


def _gflop_a_tile(model: str) -> float:
    card, weights = resolve_model(model)
    assert weights is not None
    network = load_network(card, weights)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, card.input_px, card.input_px))
    return float(counter.get_total_flops() / 1e9)


def _matrix_gflop_s(device: str) -> float:
    left, right = (torch.randn(MATRIX, MATRIX, device=device) for _ in range(2))
    spent = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        float((left @ right)[0, 0])  # waits for a GPU too
        spent.append(time.perf_counter() - started)
    return 2 * MATRIX**3 / min(spent) / 1e9


if __name__ == "__main__":
    main()
