"""What decoding JPEG tiles at 1/2, 1/4 or 1/8 inside the DCT would gain, and what it would change.

    python -m benchmarks.scaled_decoding SLIDE [--mpp MPP] [--rounds 3] [--json FILE]

The native reader decodes each tile whole and averages it while it is in the cache. Here stands
beside it a reader that asks libjpeg-turbo for a smaller picture, where a tile's cell of pixels has
a factor of 2, 4 or 8; `docs/adr/0009-no-scaled-decoding.md` says why it is no option of the
project. Only the largest level is read, as if the slide had no other.
"""

import argparse
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.infer import load_classifier
from models.registry import DEFAULT_MODEL
from service.tissue import lay_tiles
from wsi.geometry import Box, Size
from wsi.readers import open_slide
from wsi.readers.tiff import TiledTiffSlide
from wsi.readers.tiffblocks import Picture, TiffBlocks
from wsi.readers.tiffdecode import JPEG
from wsi.readers.tiffjpeg import JpegHeads
from wsi.readers.tiffplan import Part
from wsi.readers.tifftags import Ifd
from wsi.resample import average_cells
from wsi.slide import Slide
from wsi.tiler import TilePlan, read_tiles

__all__ = ["ScaledBlocks", "main", "measure"]

SCALES = (8, 4, 2)
CONTRACTS = ((50, 4.0), (256, 1.0), (256, 0.5))
"""Tile px and um/px; those for which the slide is too coarse are left out."""


class ScaledBlocks(TiffBlocks):
    """The blocks of another reader, whose whole JPEG tiles are decoded smaller."""

    def __init__(self, of: TiffBlocks) -> None:
        super().__init__(of._file, of._background)
        self._asked = threading.local()

    def read_into(self, ifd: Ifd, box: Box, out: NDArray[np.uint8]) -> None:
        sides = box.width // out.shape[1], box.height // out.shape[0]
        fitting = [f for f in SCALES if not any(side % f for side in (*sides, *ifd.block))]
        self._asked.scale = fitting[0] if fitting and ifd.compression == JPEG else 1
        super().read_into(ifd, box, out)

    def _decode_for(
        self, picture: Picture, number: int, part: Part, stored: Sequence[memoryview]
    ) -> NDArray[Any]:
        if self._asked.scale == 1 or not part.is_whole:
            return super()._decode_for(picture, number, part, stored)
        return self._decode_smaller(picture.ifd, stored[0])

    def _decode_smaller(self, ifd: Ifd, stored: memoryview) -> NDArray[np.uint8]:
        import simplejpeg  # type: ignore[import-untyped]

        jpeg, _ = JpegHeads(ifd.jpeg_tables, ifd.photometric).whole(stored)
        size = Size(*(side // self._asked.scale for side in ifd.block))
        room = np.empty((size.height, size.width, 3), np.uint8)
        smaller = simplejpeg.decode_jpeg(
            jpeg, "RGB", min_height=size.height, min_width=size.width, buffer=room
        )
        return np.asarray(smaller, np.uint8)

    def _place(
        self, picture: Picture, tile: NDArray[Any], part: Part, out: NDArray[np.uint8]
    ) -> None:
        scale = picture.ifd.block.height // tile.shape[0]
        if scale == 1:
            super()._place(picture, tile, part, out)
            return
        rows, columns = (slice(0, side.stop // scale) for side in part.source)
        average_cells(tile[rows, columns], out[part.target])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("slide", type=Path)
    parser.add_argument("--mpp", type=float, help="of level 0; say 0.5 for 0.499")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = measure(options.slide, options.mpp, options.rounds)
    for facts in found:
        print("\n".join(f"{name:<44} {value}" for name, value in facts.items()), end="\n\n")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


def measure(path: Path, mpp: float | None, rounds: int) -> list[dict[str, Any]]:
    """Facts by contract, where the slide is fine enough for one."""
    with open_slide(path, mpp, "tiff") as slide:
        if not isinstance(slide, TiledTiffSlide) or slide.info.mpp is None:
            raise TypeError(f"{path}: no slide of the native reader with a resolution")
        slide._info = replace(slide.info, levels=slide.info.levels[:1])
        finest = max(slide.info.mpp)
        return [_compare(slide, *one, rounds) for one in CONTRACTS if one[1] >= 2 * finest]


def _compare(slide: TiledTiffSlide, tile_px: int, mpp: float, rounds: int) -> dict[str, Any]:
    plan = lay_tiles(
        slide, tile_px=tile_px, mpp=mpp, stride_px=None,
        mask="saturation", min_tissue=0.1, upsample=False,
    ).plan  # fmt: skip
    whole, smaller = slide._blocks, ScaledBlocks(slide._blocks)
    seconds = dict.fromkeys(("whole", "smaller"), float("inf"))
    tiles: dict[str, NDArray[np.uint8]] = {}
    for _ in range(rounds):
        for name, blocks in (("whole", whole), ("smaller", smaller)):
            slide._blocks = blocks
            spent, tiles[name] = _timed(lambda: _read_all(slide, plan))
            seconds[name] = min(seconds[name], spent)
    slide._blocks = whole
    apart = np.abs(tiles["whole"].astype(np.int16) - tiles["smaller"])
    return {
        "slide": f"{slide.info.name}, {tile_px} px at {mpp:g} um/px, cells of {plan.cell} px",
        "tiles": len(plan),
        "native tiles": plan.native_tiles,
        "reading, tiles decoded whole, s": round(seconds["whole"], 3),
        "reading, tiles decoded smaller, s": round(seconds["smaller"], 3),
        "whole / smaller": round(seconds["whole"] / seconds["smaller"], 2),
        "grey levels apart, mean": round(float(apart.mean()), 3),
        "grey levels apart, most": int(apart.max()),
        **(_scores_apart(tiles) if (tile_px, mpp) == CONTRACTS[0] else {}),
    }


def _scores_apart(tiles: dict[str, NDArray[np.uint8]]) -> dict[str, Any]:
    classifier = load_classifier(DEFAULT_MODEL, "cpu", precision="float32")
    positive, threshold = classifier.card.positive_index, classifier.card.threshold
    a, b = (classifier.predict(tiles[name])[:, positive] for name in ("whole", "smaller"))
    return {
        "probability apart, mean": round(float(np.abs(a - b).mean()), 5),
        "probability apart, most": round(float(np.abs(a - b).max()), 4),
        "tiles of another class": int(((a >= threshold) != (b >= threshold)).sum()),
    }


def _read_all(slide: Slide, plan: TilePlan) -> NDArray[np.uint8]:
    return np.concatenate([batch.rgb for batch in read_tiles(slide, plan, batch_size=64)])


def _timed(
    work: Callable[[], NDArray[np.uint8]],
) -> tuple[float, NDArray[np.uint8]]:
    started = time.perf_counter()
    answer = work()
    return time.perf_counter() - started, answer


if __name__ == "__main__":
    main()
