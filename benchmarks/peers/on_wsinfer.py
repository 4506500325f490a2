"""WSInfer's patching and inference on one job, with tiffslide.

python -m benchmarks.peers.on_wsinfer JOB
"""

# mypy: disable-error-code="import-not-found"

import csv
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import wsinfer.wsi
from wsinfer.modellib.models import LocalModelTorchScript
from wsinfer.modellib.run_inference import run_inference
from wsinfer.patchlib import segment_and_patch_directory_of_slides
from wsinfer_zoo.client import ModelConfiguration

from benchmarks.peers.job import Outcome, read_job, run_job

STAGES = "stages.json"


def main() -> None:
    job = read_job(Path(sys.argv[1]))
    wsinfer.wsi.set_backend("tiffslide")
    model = load_model(Path(job.model))

    def predict(slide: Path, folder: Path) -> None:
        slides = folder / "slides"
        slides.mkdir(parents=True)
        (slides / slide.name).symlink_to(slide)
        started = time.perf_counter()
        segment_and_patch_directory_of_slides(slides, folder, job.tile_px, job.mpp)
        patched = time.perf_counter()
        run_inference(slides, folder, model, job.batch_size, job.workers)
        stages = {"mask": patched - started, "score": time.perf_counter() - patched}
        (folder / STAGES).write_text(json.dumps(stages), "utf-8")

    run_job(job, predict, collect)


def load_model(folder: Path) -> LocalModelTorchScript:
    """Its configuration is a card's seven fields: its schema takes no others."""
    card = json.loads((folder / "card.json").read_text("utf-8"))
    fields = ("spec_version", "architecture", "num_classes", "class_names", "patch_size_pixels",
              "spacing_um_px", "transform")  # fmt: skip
    config = ModelConfiguration.from_dict({name: card[name] for name in fields})
    return LocalModelTorchScript(config, str(folder / "weights.pt"))


def collect(folder: Path) -> Outcome:
    table = next((folder / "model-outputs-csv").glob("*.csv"))
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    classes = [name for name in rows[0] if name.startswith("prob_")]
    xy0 = np.array([(row["minx"], row["miny"]) for row in rows], np.float64).astype(np.int64)
    prob = np.array([[row[name] for name in classes] for row in rows], np.float32)
    return Outcome(xy0, prob, json.loads((folder / STAGES).read_text("utf-8")))


if __name__ == "__main__":
    os.environ["WSINFER_FORCE_CPU"] = "1"
    main()
