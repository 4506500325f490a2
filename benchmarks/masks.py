"""How well masks leave out pens and glass edges, and how little tissue they lose.

    python -m benchmarks.masks [DATA]

DATA is the folder of real pictures (default: WSI_TEST_DATA, else ../shared/data).
"""

import csv
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsi.background import background_colour
from wsi.geometry import Mpp, Scale, Size
from wsi.grid import MIN_TISSUE, TileGrid, tissue_fractions
from wsi.mask import MASK_MPP, tissue_mask
from wsi.overview import Overview, read_overview
from wsi.pen import find_pen
from wsi.readers import open_slide
from wsi.readers.array import ArraySlide

FINDERS = ("saturation", "lab")
SVS = (("CMU-1-Small-Region.svs", 0.499), ("tcga-cr-7395-jp2k-no-mpp.svs", 0.5))
BREAKHIS_MPP = {"40": 0.49, "100": 0.20, "200": 0.10, "400": 0.05}  # Spanhol et al. 2016

# um/px are guesses from a stroke's and a slide's width: the pictures do not state them
MASKED = (
    ("pen/pen_red", 20.0),
    ("pen/pen_green", 20.0),
    ("pen/pen_black", 8.0),
    ("coverslip/coverslip_edge", 20.0),
)
NO_TISSUE = (
    ("almost-white-1", 4.0),
    ("no-tissue", 4.0),
    ("no-tissue2", 4.0),
    ("no-tissue-line", 4.0),
    ("no-tissue-green-pen", 4.0),
    ("no-tissue-red-pen", 4.0),
)


def picture(path: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(path).convert("RGB"))


def as_overview(rgb: NDArray[np.uint8], mpp: float) -> Overview:
    return Overview(rgb, mpp, Scale(1.0, 1.0))


def share(part: NDArray[np.bool_], whole: NDArray[np.bool_]) -> float:
    return float((part & whole).sum() / max(1, whole.sum()))


def measure_artefacts(folder: Path) -> None:
    print("\nArtefacts against their masks (found: by colour and shape; kept: called tissue)")
    print(
        f"{'picture':28} um/px  recall  precision  Dice   " + "kept as tissue, pen removal on/off"
    )
    for name, mpp in MASKED:
        rgb, truth = picture(folder / f"{name}.png"), picture(folder / f"{name}_mask.png")
        artefact = truth[..., 0] > 127
        found = find_pen(rgb, mpp, background_colour(rgb))
        recall, precision = share(found, artefact), share(artefact, found)
        line = f"{name:28} {mpp:5}  {recall:6.3f}  {precision:9.3f}  "
        line += f"{2 * recall * precision / (recall + precision):.3f}"
        for method in FINDERS:
            kept = (
                share(tissue_mask(as_overview(rgb, mpp), method, remove_pen=on).tissue, artefact)
                for on in (True, False)
            )
            line += f"   {method} " + "/".join(f"{part:.3f}" for part in kept)
        print(line)


def measure_empty(folder: Path) -> None:
    print("\nPictures without tissue: share that is called tissue")
    for name, mpp in NO_TISSUE:
        overview = as_overview(picture(folder / "tiles" / f"{name}.png"), mpp)
        parts = (f"{m} {tissue_mask(overview, m).tissue.mean():.3f}" for m in FINDERS)
        print(f"{name:28} {mpp:5}  " + "   ".join(parts))


def lost_to_pen(overview: Overview, method: str) -> float:
    """Share of the tissue that is lost to the removal of pens; these slides have none."""
    whole = tissue_mask(overview, method, remove_pen=False).tissue
    return 1 - share(tissue_mask(overview, method).tissue, whole)


def measure_clean(data: Path) -> None:
    print("\nTissue that pen removal takes from slides without pen")
    for name, mpp in SVS:
        with open_slide(data / "slides" / name, mpp=mpp) as slide:
            overview = read_overview(slide, MASK_MPP)
        print(f"{name:32} " + "   ".join(f"{m} {lost_to_pen(overview, m):.4f}" for m in FINDERS))
    for how in ("true", "8"):
        lost, tissue, paths = [], [], sorted((data / "breakhis").glob("*.png"))
        for path in paths:
            mpp = BREAKHIS_MPP[path.stem.split("-")[-2]]
            rgb = picture(path)
            overview = as_overview(rgb, 8.0)
            if how == "true":
                overview = read_overview(ArraySlide([rgb], Mpp(mpp, mpp)), MASK_MPP)
            lost.append([lost_to_pen(overview, m) for m in FINDERS])
            tissue.append([tissue_mask(overview, m).tissue.mean() for m in FINDERS])
        for i, method in enumerate(FINDERS):
            print(
                f"BreakHis, {len(paths)} pictures at {how:>4} um/px   {method}: lost mean "
                f"{np.mean(lost, axis=0)[i]:.4f} most {np.max(lost, axis=0)[i]:.4f}; "
                f"tissue mean {np.mean(tissue, axis=0)[i]:.3f} "
                f"least {np.min(tissue, axis=0)[i]:.3f}"
            )


def complete_slides(folder: Path) -> Iterator[tuple[str, NDArray[np.uint8], NDArray[np.int64]]]:
    """Patient, slide at 4 um/px put together, and tiles (n, 3): left, top, label."""
    with (folder / "tiles.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    sampled = {row["patient"] for row in rows if row["complete"] != "1"}
    for patient in sorted({row["patient"] for row in rows} - sampled):
        names = ("x", "y", "label", "index", "width", "height")
        own = [[int(row[name]) for name in names] for row in rows if row["patient"] == patient]
        tiles = np.array(own, np.int64)
        sheet = picture(folder / f"{patient}.webp")
        rgb = np.full((tiles[:, 1].max() + 49, tiles[:, 0].max() + 49, 3), 255, np.uint8)
        for x, y, _, index, width, height in tiles.tolist():
            top, left = index // 64 * 50, index % 64 * 50
            rgb[y - 1 : y - 1 + height, x - 1 : x - 1 + width] = sheet[
                top : top + height, left : left + width
            ]
        yield patient, rgb, tiles[:, :3] - np.array((1, 1, 0), np.int64)


def measure_tiles(folder: Path) -> None:
    print(f"\nIDC slides: published tiles with at least {MIN_TISSUE:g} of tissue; lost to pen")
    kept: dict[str, list[NDArray[np.bool_]]] = {method: [] for method in FINDERS}
    labels, seconds, pixels = [], dict.fromkeys(FINDERS, 0.0), 0
    for patient, rgb, tiles in complete_slides(folder):
        overview = read_overview(ArraySlide([rgb], Mpp(4.0, 4.0)), MASK_MPP)
        size = Size(rgb.shape[1], rgb.shape[0])
        grid = TileGrid.over(size, Mpp(4.0, 4.0), tile_px=50, mpp=4.0)
        labels.append(tiles[:, 2] == 1)
        pixels += overview.rgb.shape[0] * overview.rgb.shape[1]
        line = f"{patient:8}"
        for method in FINDERS:
            start = time.process_time()  # of the processor: other work does not count
            mask = tissue_mask(overview, method)
            seconds[method] += time.process_time() - start
            tissue = tissue_fractions(grid, mask)[tiles[:, 1] // 50, tiles[:, 0] // 50]
            kept[method].append(tissue >= MIN_TISSUE)
            idc = kept[method][-1][labels[-1]].mean() if labels[-1].any() else np.nan
            line += f"   {method} all {kept[method][-1].mean():.3f} IDC {idc:.3f} "
            line += f"lost {lost_to_pen(overview, method):.4f}"
        print(line)
    idc = np.concatenate(labels)
    for method in FINDERS:
        one = np.concatenate(kept[method])
        print(
            f"{'all':8}   {method}: {one.mean():.4f} of {len(one)} tiles, {one[idc].mean():.4f} of "
            f"{idc.sum()} with IDC; {seconds[method] / pixels * 4e6:.2f} CPU s for 4 Mpx"
        )


def main() -> None:
    default = os.environ.get("WSI_TEST_DATA", Path(__file__).parents[2] / "shared" / "data")
    data = Path(sys.argv[1] if len(sys.argv) > 1 else default)
    measure_artefacts(data / "artefacts")
    measure_empty(data / "artefacts")
    measure_clean(data)
    measure_tiles(data / "idc")


if __name__ == "__main__":
    main()
