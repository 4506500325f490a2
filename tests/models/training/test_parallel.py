import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from models.card import read_card
from models.registry import build
from models.train import train
from models.training.parallel import Processes
from models.training.parts import read_parts
from models.training.run import Run
from tests.conftest import REPOSITORY
from tests.models.training_runs import COLOUR, SMALL

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("architectures")]
ALONE = Processes(torch.device("cpu"))


def train_by_two(recipe: str, data: Path, out: Path) -> str:
    """Two processes on this machine; what they print."""
    program = out.parent / "pair.py"
    program.write_text(
        "import sys; from pathlib import Path; from models.train import train; "
        f"from tests.models.training_runs import {recipe}, register; register(); "
        f"train({recipe}, Path(sys.argv[1]), Path(sys.argv[2]), device='cpu', "
        "on_progress=lambda now: print(now, flush=True))"
    )
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *launch, program, data, out],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_processes_take_the_steps_of_one(data: Path, tmp_path: Path):
    """Gradients of half a batch each, averaged, are those of the batch."""
    printed = train_by_two("COLOUR", data, tmp_path / "two")
    train(COLOUR, data, tmp_path / "one", device="cpu")

    one, two = (load_file(tmp_path / name / "state.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-5, atol=1e-6)
    assert printed.count("epoch 1 of 3") == 1
    card = read_card(tmp_path / "two" / "small.json")
    assert card.metrics["training"]["processes"] == 2


def test_two_processes_validate_the_weights_that_are_saved(data: Path, tmp_path: Path):
    """Each has seen batches of its own: their batch norms differ."""
    train_by_two("SMALL", data, tmp_path / "two")
    parts = read_parts(SMALL, data, tmp_path, ALONE)
    run = Run(build("tiny", 2), SMALL, parts.training.label, ALONE)
    run.resume(tmp_path / "two" / "state.safetensors")

    with (tmp_path / "two" / "log.csv").open(newline="") as table:
        last = list(csv.DictReader(table))[-1]
    assert float(last["validation_loss"]) == pytest.approx(
        run.validate(parts.validation).loss, rel=1e-6
    )
