"""The default model, trained on tissue alone, finds the cancer that was drawn."""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.metrics import roc_auc_score

from service.pipeline import run_request
from service.request import HeatmapRequest
from wsi.export import ome_zarr
from wsi.phantom import draw_phantom, truth_path


def test_default_model_finds_the_cancer_of_the_phantom(tmp_path: Path) -> None:
    slide = tmp_path / "phantom.tiff"
    draw_phantom(slide, size_px=5000, mpp=0.5)
    result = run_request(HeatmapRequest(slide=str(slide), device="cpu"), tmp_path / "out")
    heatmap = ome_zarr.read(result.folder / "heatmap.zarr")
    rows, columns = heatmap.positive.shape  # of 400 px, the last ones cut
    with Image.open(truth_path(slide)) as truth:
        share = np.asarray(truth.resize((5000, 5000), Image.Resampling.NEAREST)) / 255
    padded = np.zeros((rows * 400, columns * 400))
    padded[:5000, :5000] = share
    cancer = padded.reshape(rows, 400, columns, 400).mean((1, 3)) > 0.5
    scored = np.isfinite(heatmap.positive)
    assert cancer[scored].sum() >= 5
    assert roc_auc_score(cancer[scored], heatmap.positive[scored]) > 0.95
    found = heatmap.positive >= heatmap.threshold
    assert found[cancer & scored].mean() > 0.8
    assert found[~cancer & scored].mean() < 0.2
