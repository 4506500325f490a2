"""This project's own pipeline on one job.

python -m benchmarks.peers.on_ours JOB
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.peers.job import Job, Outcome, read_job, run_job
from models.card import ModelCard
from models.infer import Classifier, load_classifier
from models.network import default_batch
from models.registry import resolve_model
from models.speed.accuracy import watch_ranges
from models.speed.tuning import Tuning
from service.pipeline import make_heatmap
from service.request import HeatmapRequest
from service.results import SCORES
from wsi.store import ScoreStore


def main() -> None:
    job = read_job(Path(sys.argv[1]))
    card, _ = resolve_model(job.model)
    classifier = load_classifier(job.model, "cpu", tuning=tuning_of(job, card))

    def predict(slide: Path, folder: Path) -> None:
        score(job, slide, folder, card, classifier)

    run_job(job, predict, lambda folder: collect(folder, classifier.device))


def tuning_of(job: Job, card: ModelCard) -> Tuning | None:
    """None: as it computes for those who choose nothing, in bfloat16 where the processor has it."""
    if job.form == "auto":
        return None
    batch_size = default_batch(card, torch.device("cpu"))
    tuning = Tuning(job.form, "float32", batch_size)
    if job.form == "int8":
        return replace(tuning, ranges=observe(job, card, batch_size))
    return tuning


def score(job: Job, slide: Path, folder: Path, card: ModelCard, classifier: Classifier) -> None:
    request = HeatmapRequest(slide=str(slide), model=job.model, device="cpu")
    done = make_heatmap(request, folder, card, lambda: classifier)
    stages = folder.with_name(f"{folder.name}.stages.json")
    stages.write_text(json.dumps(done.run["seconds"]), "utf-8")


def observe(job: Job, card: ModelCard, batch_size: int) -> tuple[tuple[float, float], ...]:
    """The ranges of numbers in the network, on the tiles of the small slide."""
    weights = resolve_model(job.model).weights
    assert weights is not None
    classifier, observer = watch_ranges(card, weights, batch_size)
    score(job, Path(job.warm), Path(job.out) / "observed", card, classifier)
    return observer.ranges


def collect(folder: Path, device: str) -> Outcome:
    scores = ScoreStore.open(folder / SCORES)
    stages = folder.with_name(f"{folder.name}.stages.json")
    seconds = json.loads(stages.read_text("utf-8"))
    return Outcome(np.asarray(scores.xy0), np.asarray(scores.prob), seconds, device)


if __name__ == "__main__":
    main()
