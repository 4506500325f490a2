"""A patient of the IDC data set as a slide: 03_idc_mosaic_to_slide.py DATA PATIENT OUT.tiff

DATA is the published folder, or a packed one. OUT.truth.png: 0 no tile, 127 without IDC, 255 IDC.
"""

import sys
from pathlib import Path

from PIL import Image

from models.datasets import load_tiles
from wsi.geometry import Mpp, Size
from wsi.mosaic import LabelledTile, assemble_mosaic, cut_padding
from wsi.pyramid_tiff import write_pyramid


def main(data: Path, patient: str, out: Path) -> None:
    tiles = load_tiles(data).of_patients([patient])
    mosaic = assemble_mosaic(
        LabelledTile(cut_padding(rgb), int(x), int(y), int(label))
        for rgb, (x, y), label in zip(tiles.rgb, tiles.xy, tiles.label, strict=True)
    )
    height, width = mosaic.label.shape
    write_pyramid(
        out,
        Size(width, height),
        lambda box: mosaic.rgb[box.y : box.bottom, box.x : box.right],
        mpp=Mpp(4, 4),  # tiles were cut at 2.5x
        quality=None,  # the tiles' own pixels: a second JPEG would change the scores
    )
    truth = out.with_suffix(".truth.png")
    Image.fromarray((mosaic.label * 127.5).astype("uint8")).save(truth)
    print(f"{out}: {width}x{height} px from {len(tiles)} tiles; truth in {truth}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
