"""`make demo`: a slide goes in, a heatmap comes out, and where to look."""

import argparse
import time
from pathlib import Path

from service.cli import run_guarded
from service.cli.heatmaps import sentence
from service.cli.terminal import TerminalProgress, say

__all__ = ["main"]

PHANTOM_PX = 16_000


def main(arguments: list[str] | None = None) -> None:
    """Draws the phantom where no slide is named, runs the main job, prints pictures and times."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo"))
    parser.add_argument("--slide", help="a slide of your own; default: a phantom that is drawn")
    parser.add_argument("--mpp", type=float, help="um/px, where the slide does not state it")
    options = parser.parse_args(arguments)
    run_guarded(lambda: demonstrate(options.out, options.slide, options.mpp))


def demonstrate(out: Path, slide: str | None = None, mpp: float | None = None) -> None:
    from service.pipeline import run_request
    from service.request import HeatmapRequest

    seconds: dict[str, float] = {}
    if slide is None:
        slide = str(draw_once(out, seconds))
    with TerminalProgress() as progress:
        started = time.perf_counter()
        result = run_request(
            HeatmapRequest(slide=slide, mpp=mpp, device="cpu"),
            out / "heatmaps",  # not beside the slide: the result has its name
            overwrite=True,
            progress=progress,
        )
        seconds |= result.run.get("seconds", {})
        seconds["whole job, loading the network included"] = time.perf_counter() - started
    say(sentence(result))
    for name in ("overlay.png", "heatmap.png", "report.html"):
        say(f"  {name:<12} {(result.folder / name).resolve()}")
    say("seconds:")
    for stage, spent in seconds.items():
        say(f"  {stage:<12} {spent:7.2f}")


def draw_once(out: Path, seconds: dict[str, float]) -> Path:
    """The phantom in `out`, drawn where it is not there yet."""
    from wsi.phantom import draw_phantom

    path = out / "phantom.tiff"
    if not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        draw_phantom(path, size_px=PHANTOM_PX)
        seconds["draw"] = time.perf_counter() - started
    return path


if __name__ == "__main__":
    main()
