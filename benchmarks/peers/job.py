"""What each side is told, and how each is timed. Runs in every side's own environment.

Nothing of this project is imported here but this file.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["JOB", "RESULT", "SCORES", "Job", "Outcome", "read_job", "run_job", "write_job"]

JOB = "job.json"
RESULT = "result.json"
SCORES = "scores.npz"


@dataclass(frozen=True)
class Job:
    """One slide, scored `rounds` times after a small one that warms the process up.

    model: a folder with card.json, weights.safetensors (names and shapes of torchvision's network,
    the temperature folded into its last layer) and weights.pt (the same as TorchScript).
    form: how this project computes, of models.speed.tuning.FORMS.
    """

    slide: str
    warm: str
    model: str
    tile_px: int
    mpp: float
    batch_size: int
    workers: int
    rounds: int
    out: str
    form: str = "auto"


@dataclass(frozen=True)
class Outcome:
    """xy0: int64 (n, 2), at level 0. prob: float32 (n, classes). stages: seconds, if known.

    device: where it was computed and how, if it says so.
    """

    xy0: Any
    prob: Any
    stages: dict[str, float]
    device: str = ""


def write_job(job: Job, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(job), indent=1), "utf-8")
    return path


def read_job(path: Path) -> Job:
    return Job(**json.loads(path.read_text("utf-8")))


def run_job(
    job: Job, predict: Callable[[Path, Path], None], collect: Callable[[Path], Outcome]
) -> None:
    """Times predict(slide, folder) and leaves its scores and seconds in job.out.

    The fastest round counts. What it wrote is read by collect(folder) when the clock stands.
    """
    out = Path(job.out)
    predict(Path(job.warm), out / "warm")
    seconds = []
    for number in range(job.rounds):
        started = time.perf_counter()
        predict(Path(job.slide), out / str(number))
        seconds.append(time.perf_counter() - started)
    fastest = int(np.argmin(seconds))
    outcome = collect(out / str(fastest))
    np.savez(out / SCORES, xy0=outcome.xy0, prob=outcome.prob)
    facts = {"seconds": seconds, "stages": outcome.stages, "device": outcome.device}
    (out / RESULT).write_text(json.dumps(facts), "utf-8")
