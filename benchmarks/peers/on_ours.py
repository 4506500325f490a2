"""This project's own pipeline on one job.

python -m benchmarks.peers.on_ours JOB
"""

import json
import sys
from pathlib import Path

import numpy as np

from benchmarks.peers.job import Outcome, read_job, run_job
from models.infer import load_classifier
from models.registry import resolve_model
from service.pipeline import make_heatmap
from service.request import HeatmapRequest
from service.results import SCORES
from wsi.store import ScoreStore


def main() -> None:
    job = read_job(Path(sys.argv[1]))
    card, _ = resolve_model(job.model)
    classifier = load_classifier(job.model, "cpu")

    def predict(slide: Path, folder: Path) -> None:
        request = HeatmapRequest(slide=str(slide), model=job.model, device="cpu")
        done = make_heatmap(request, folder, card, lambda: classifier)
        stages = folder.with_name(f"{folder.name}.stages.json")
        stages.write_text(json.dumps(done.run["seconds"]), "utf-8")

    run_job(job, predict, lambda folder: collect(folder, classifier.device))


def collect(folder: Path, device: str) -> Outcome:
    scores = ScoreStore.open(folder / SCORES)
    stages = folder.with_name(f"{folder.name}.stages.json")
    seconds = json.loads(stages.read_text("utf-8"))
    return Outcome(np.asarray(scores.xy0), np.asarray(scores.prob), seconds, device)


if __name__ == "__main__":
    main()
