"""TIAToolbox's PatchPredictor on one job: its own mask, reading and loop.

python -m benchmarks.peers.on_tiatoolbox JOB
"""

# mypy: disable-error-code="import-not-found"

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from safetensors.torch import load_file
from tiatoolbox.models.architecture.vanilla import CNNModel
from tiatoolbox.models.engine.io_config import IOPatchPredictorConfig
from tiatoolbox.models.engine.patch_predictor import PatchPredictor
from tiatoolbox.wsicore import WSIReader
from torch import nn
from torchvision.models import resnet18

from benchmarks.peers.job import Job, Outcome, read_job, run_job


def main() -> None:
    job = read_job(Path(sys.argv[1]))
    predictor = PatchPredictor(
        load_model(Path(job.model)), batch_size=job.batch_size, num_workers=job.workers,
        device="cpu", verbose=False,
    )  # fmt: skip
    asked = IOPatchPredictorConfig(
        input_resolutions=[{"units": "mpp", "resolution": job.mpp}],
        patch_input_shape=[job.tile_px, job.tile_px],
        stride_shape=[job.tile_px, job.tile_px],
    )

    def predict(slide: Path, folder: Path) -> None:
        predictor.run(
            [slide], patch_mode=False, ioconfig=asked, save_dir=folder, output_type="zarr",
            return_probabilities=True, auto_get_mask=True,
        )  # fmt: skip

    run_job(job, predict, lambda folder: collect(folder, job))


def load_model(folder: Path) -> CNNModel:
    """Its own network around the same layers, which it lists without their names."""
    card = json.loads((folder / "card.json").read_text("utf-8"))
    network = resnet18(num_classes=card["num_classes"])
    network.load_state_dict(load_file(folder / "weights.safetensors"))
    model = CNNModel("resnet18", card["num_classes"])
    layers = nn.Sequential(*list(network.children())[:-2])
    model.feat_extract.load_state_dict(layers.state_dict())
    model.classifier.load_state_dict(network.fc.state_dict())
    normalise = card["transform"][-1]["arguments"]
    mean, std = (np.array(normalise[key], np.float32) for key in ("mean", "std"))

    def preprocess(rgb: NDArray[np.uint8]) -> NDArray[np.floating[Any]]:
        return (np.divide(rgb, 255, dtype=np.float32) - mean) / std

    model.preproc_func = preprocess
    return model


def collect(folder: Path, job: Job) -> Outcome:
    store: Any = zarr.open(next(folder.glob("*.zarr")), mode="r")
    slide_mpp = np.asarray(WSIReader.open(job.slide).info.mpp)
    corners = np.asarray(store["coordinates"])[:, :2] * (job.mpp / slide_mpp)
    return Outcome(np.rint(corners).astype(np.int64), np.asarray(store["probabilities"]), {})


if __name__ == "__main__":
    main()
