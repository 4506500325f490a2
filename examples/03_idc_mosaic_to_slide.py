"""A patient of the IDC data set as a slide: 03_idc_mosaic_to_slide.py DATA PATIENT OUT.tiff

DATA is the published folder, or a packed one. OUT.truth.png: 0 no tile, 127 without IDC, 255 IDC.
"""

import sys
from pathlib import Path

from PIL import Image

from models.datasets import load_tiles
from models.datasets.mosaics import patient_mosaic, write_patient_slide


def main(data: Path, patient: str, out: Path) -> None:
    tiles = load_tiles(data).of_patients([patient])
    mosaic = patient_mosaic(tiles, patient)
    write_patient_slide(mosaic, out)
    truth = out.with_suffix(".truth.png")
    Image.fromarray((mosaic.label * 127.5).astype("uint8")).save(truth)
    height, width = mosaic.label.shape
    print(f"{out}: {width}x{height} px from {len(tiles)} tiles; truth in {truth}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
