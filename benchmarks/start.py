"""Seconds until a command answers, in fresh interpreters: the fastest of several, beside its bar.

    python -m benchmarks.start [--slide PATH] [--rounds 7] [--json FILE]

`wsi heatmap` is timed until the network gets its first tiles, less what a fresh interpreter takes
to import torch and torchvision and nothing else. The interpreters of all rows alternate.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.slide import _draw

__all__ = ["BARS_S", "main", "measure_start"]

HELP, INFO, HEATMAP = "wsi --help", "wsi info SLIDE", "wsi heatmap SLIDE, less torch"
BARS_S = {HELP: 0.3, INFO: 0.6, HEATMAP: 2.0}

SMALL_PX = 4000
COMMAND = "from service.cli import main; main()"
TORCH = "import torch, torchvision"

UNTIL_FIRST_TILES = """
import os
import models.infer

load = models.infer.load_classifier

class Leaving:
    def __init__(self, classifier):
        self._classifier = classifier

    def __getattr__(self, name):
        return getattr(self._classifier, name)

    def predict_raw(self, rgb):
        os.write(1, b"first tiles")
        os._exit(0)

models.infer.load_classifier = lambda *given, **named: Leaving(load(*given, **named))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slide", type=Path, help="a small one, instead of the phantom")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        slide = options.slide or _draw(Path(folder, "phantom.tiff"), SMALL_PX)
        seconds = measure_start(slide, Path(folder), options.rounds)
    for name, value in seconds.items():
        bar = f"   bar {BARS_S[name]:.1f}" if name in BARS_S else ""
        print(f"{name:<34} {value:6.3f} s{bar}")
    if options.json:
        options.json.write_text(json.dumps(seconds, indent=1) + "\n")


def measure_start(slide: Path, folder: Path, rounds: int) -> dict[str, float]:
    """Least seconds by name, those of BARS_S and the parts of the last."""
    first_tiles = "wsi heatmap SLIDE"
    code = {
        "python": ("pass", []),
        HELP: (COMMAND, ["--help"]),
        INFO: (COMMAND, ["info", str(slide)]),
        TORCH: (TORCH, []),
        first_tiles: (UNTIL_FIRST_TILES + COMMAND, ["heatmap", str(slide), "--quiet"]),
    }
    seconds = dict.fromkeys(code, float("inf"))
    for count in range(rounds):
        for name, (program, arguments) in code.items():
            out = ["--out", str(folder / str(count))] if name == first_tiles else []
            began = time.perf_counter()
            said = _run(program, [*arguments, *out])
            if name == first_tiles and said != "first tiles":
                raise RuntimeError(f"no tile of {slide} came to the network")
            seconds[name] = min(seconds[name], time.perf_counter() - began)
    rounded = {name: round(value, 3) for name, value in seconds.items()}
    return rounded | {HEATMAP: round(seconds[first_tiles] - seconds[TORCH], 3)}


def _run(program: str, arguments: list[str]) -> str:
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


if __name__ == "__main__":
    main()
