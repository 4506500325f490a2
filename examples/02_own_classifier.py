"""Any function of pixels as a model: python examples/02_own_classifier.py SLIDE [OUT]

Scores tiles of 224 px at 0.5 um/px by how purple they are, and writes an OME-Zarr heatmap.
"""

import sys
from pathlib import Path

import numpy as np

from wsi import TileGrid, assemble, open_slide, plan_tiles, read_tiles, select_tiles, tissue_mask
from wsi.slide import require_mpp
from wsi.store import write_heatmap


def purple(rgb: np.ndarray) -> np.ndarray:
    """uint8 (n, h, w, 3) to float32 (n,): more red and blue than green, 0 to 1."""
    red, green, blue = (rgb[..., c].mean((1, 2)) for c in range(3))
    return np.clip((red + blue) / 2 - green, 0, 255).astype(np.float32) / 255


def main(slide_path: str, out: str = "purple.zarr") -> None:
    with open_slide(slide_path) as slide:
        info = slide.info
        grid = TileGrid.over(info.size, require_mpp(info), tile_px=224, mpp=0.5)
        plan = plan_tiles(info, grid, select_tiles(grid, tissue_mask(slide)))
        scores = [purple(batch.rgb) for batch in read_tiles(slide, plan, batch_size=64)]
    prob = np.concatenate(scores)[:, None]
    heatmap = assemble(
        grid, plan.indices, prob, classes=["purple"], positive_class="purple", threshold=0.2
    )
    tissue = np.isfinite(heatmap.positive).astype(np.uint8)
    origin_um = heatmap.cell_um._replace(x=0.0, y=0.0)
    write_heatmap(Path(out), [heatmap.values], [tissue], cell_um=heatmap.cell_um,
                  origin_um=origin_um, classes=["purple"], attributes={})  # fmt: skip
    print(f"{len(prob)} tiles, purple from {prob.min():.2f} to {prob.max():.2f}: {out}")


if __name__ == "__main__":
    main(*sys.argv[1:])
