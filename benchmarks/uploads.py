"""Reading a slide that came from outside: in the reader process, against reading it directly.

    python -m benchmarks.uploads SLIDE [--mpp MPP] [--rounds 3]

All tiles with tissue, for each contract: directly; as a worker reads an upload, where each block is
shrunk in the reader process; and with pixels handed over as they are, to be shrunk on this side.
Rounds alternate, and the fastest of each counts.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.contracts import CONTRACTS, Contract
from service.sandbox.slide import open_in_sandbox
from service.tissue import lay_tiles
from service.worker.opener import NamelessSlide
from wsi.geometry import Box
from wsi.readers import open_slide
from wsi.readers.base import BaseSlide
from wsi.slide import Slide
from wsi.tiler import TilePlan, read_tiles

__all__ = ["main", "measure"]


class PlainSlide(BaseSlide):
    """A slide that hands over every pixel."""

    def __init__(self, slide: Slide) -> None:
        super().__init__(slide.info)
        self._slide = slide

    def _read_inside(self, level: int, box: Box) -> NDArray[np.uint8]:
        return self._slide.read_level(level, box)

    def _release(self) -> None: ...


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("slide", type=Path)
    parser.add_argument("--mpp", type=float)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for contract in CONTRACTS:
        for name, value in measure(options.slide, options.mpp, contract, options.rounds).items():
            print(f"{name:<44} {value}")


def measure(
    path: Path, mpp: float | None, contract: Contract, rounds: int
) -> dict[str, str | float]:
    """Least seconds by way."""
    with open_slide(path, mpp) as direct, open_in_sandbox(path, mpp) as boxed:
        plan = lay_tiles(
            direct, tile_px=contract.tile_px, mpp=contract.mpp, stride_px=None,
            mask="saturation", min_tissue=0.1, upsample=False,
        ).plan  # fmt: skip
        slides = {
            "directly, s": direct,
            "upload, shrunk in the reader process, s": NamelessSlide(boxed, "upload"),
            "upload, pixels handed over, s": PlainSlide(boxed),
        }
        seconds = dict.fromkeys(slides, float("inf"))
        for _ in range(rounds):
            for name, slide in slides.items():
                seconds[name] = min(seconds[name], _seconds(slide, plan))
    rounded = {name: round(value, 3) for name, value in seconds.items()}
    return {"tiles": f"{len(plan)}, {contract}, cells of {plan.cell} px", **rounded}


def _seconds(slide: Slide, plan: TilePlan) -> float:
    started = time.perf_counter()
    for _ in read_tiles(slide, plan, batch_size=64):
        pass
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
