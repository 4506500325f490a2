"""Measures how a model computes fastest on this machine, beside the reading of a slide."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from service.request import HeatmapRequest
from wsi.cores import usable_cores
from wsi.readers import open_slide
from wsi.slide import Slide
from wsi.tiler import TilePlan, read_tiles

if TYPE_CHECKING:
    from models.speed.trials import Trial
    from models.speed.tuning import Tuning

__all__ = ["describe_tunings", "sample_tiles", "tune"]

PHANTOM_PX = 12_000
SAMPLE_TILES = 256
STEADY = 1.2  # quiet runs of the same network differed by as much
SAMPLE_BATCH = 32
TRIAL_S = 1.0  # models.speed.trials.TRIAL_S, here so that the command line loads no torch
OVERLAPPED_TRIALS = 3  # of a trial's time: reading comes in bursts

Say = Callable[[str], None]


def tune(
    model: str,
    folder: Path,
    *,
    device: str = "auto",
    int8_data: Path | None = None,
    ways: "Sequence[Tuning] | None" = None,
    phantom_px: int = PHANTOM_PX,
    trial_s: float = TRIAL_S,
    say: Say,
) -> dict[str, Any]:
    """Tries what the device has, keeps the fastest way in `folder`, and says what it found.

    int8_data: labelled tiles; only with them 8-bit integers are tried, which change the scores: by
    how much is measured there. They are kept beside, for those who ask for them. ways: instead of
    all that the device has. phantom_px: side of the slide that is read. trial_s: least time of
    each trial. Raises ModelError, WsiError.
    """
    from models.network import choose_device, device_name
    from models.registry import resolve_model
    from models.speed.trials import candidates, try_forms
    from models.speed.tuning import keep_tuning

    where, tried = choose_device(device), [list(ways or candidates(model, device))]
    if int8_data is not None:
        tried.append([_tune_int8(model, int8_data, say)])
    with _phantom(phantom_px) as slide:
        plan = _plan(slide, model)
        rgb = _sample(slide, plan)
        found = [_find_fastest(model, rgb, some, device, trial_s, say) for some in tried]
        chosen, trials = [one for one, _ in found], [trial for _, some in found for trial in some]
        steady = _is_steady(trials[0], next(try_forms(model, rgb, tried[0][:1], device, trial_s)))
        if not steady:
            say("warning: other programs were busy meanwhile; run it again on a quiet machine")
        if where.type == "cpu":
            chosen = [_share_threads(model, one, slide, plan, trial_s, say) for one in chosen]
    card, name = resolve_model(model).card, device_name(where)
    kept = [keep_tuning(folder, card, name, tuning) for tuning in chosen]
    int8 = chosen[-1] if int8_data is not None else None
    return {
        "model": model,
        "chosen": chosen[0].to_text(),
        "kept": str(kept[0]),
        "int8": int8.to_text() if int8 else None,
        "trials": [trial.to_json() for trial in trials],
        "int8_loss": dict(int8.loss) if int8 else None,
        "steady": steady,
    }


def _find_fastest(
    model: str,
    rgb: NDArray[np.uint8],
    ways: "Sequence[Tuning]",
    device: str,
    trial_s: float,
    say: Say,
) -> "tuple[Tuning, list[Trial]]":
    from models.speed.trials import fastest, try_forms, tuning_of

    trials = []
    for trial in try_forms(model, rgb, ways, device, trial_s):
        say(trial.to_text())
        trials.append(trial)
    return tuning_of(fastest(trials), ways), trials


def sample_tiles(model: str, phantom_px: int = PHANTOM_PX) -> NDArray[np.uint8]:
    """Tiles of a phantom as the model wants them, uint8 (n, tile_px, tile_px, 3), n at most 256."""
    with _phantom(phantom_px) as slide:
        return _sample(slide, _plan(slide, model))


def describe_tunings(folder: Path, device: str) -> dict[str, str]:
    """What was chosen for each shipped model that has a network, and when."""
    from models.network import choose_device, device_name
    from models.registry import list_models, resolve_model
    from models.speed.tuning import find_tuning

    name, found = device_name(choose_device(device)), {}
    for card in list_models():
        if resolve_model(card.name).weights is None:
            continue
        tuning = find_tuning(folder, card, name)
        untuned = "not measured here; `wsi doctor --tune` does it"
        found[card.name] = tuning.to_text() if tuning else untuned
        if int8 := find_tuning(folder, card, name, int8=True):
            found[f"{card.name}, where int8 is asked for"] = int8.to_text()
    return found


def _is_steady(first: "Trial", again: "Trial") -> bool:
    """Whether the same way ran as fast at the end as at the beginning."""
    slower, faster = sorted([first.tiles_s, again.tiles_s])
    return faster <= STEADY * slower


def _tune_int8(model: str, data: Path, say: Say) -> "Tuning":
    from models.speed.accuracy import tune_int8

    tuning, loss = tune_int8(model, data)
    say(f"int8 against float32: {loss.to_text()}")
    return tuning


@contextmanager
def _phantom(size_px: int) -> Iterator[Slide]:
    from wsi.phantom import draw_phantom

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "phantom.tiff")
        draw_phantom(path, size_px=size_px)
        with open_slide(str(path)) as slide:
            yield slide


def _plan(slide: Slide, model: str) -> TilePlan:
    from models.registry import resolve_model
    from service.pipeline import prepare

    request = HeatmapRequest(slide=slide.info.path, model=model, min_tissue=0.0)
    return prepare(request, slide, resolve_model(model).card).plan


def _sample(slide: Slide, plan: TilePlan) -> NDArray[np.uint8]:
    batches = islice(read_tiles(slide, plan, batch_size=SAMPLE_BATCH), SAMPLE_TILES // SAMPLE_BATCH)
    return np.concatenate([batch.rgb for batch in batches])


def _share_threads(
    model: str, tuning: "Tuning", slide: Slide, plan: TilePlan, least_s: float, say: Say
) -> "Tuning":
    """All cores for the network, or one or a quarter left to the threads that decode."""
    import torch

    before, cores = torch.get_num_threads(), usable_cores()
    rates: dict[int, float] = {}
    try:
        for threads in sorted({cores, max(1, cores - 1), max(1, cores * 3 // 4)}, reverse=True):
            torch.set_num_threads(threads)
            way = replace(tuning, threads=threads)
            rates[threads] = _overlapped_rate(model, way, slide, plan, least_s)
            rate = f"{rates[threads]:,.0f} tiles/s with reading"
            say(f"{threads} of {cores} cores for the network: {rate}")
    finally:
        torch.set_num_threads(before)
    best = max(rates, key=lambda threads: rates[threads])
    return replace(tuning, threads=best)


def _overlapped_rate(
    model: str, tuning: "Tuning", slide: Slide, plan: TilePlan, least_s: float
) -> float:
    """Tiles a second of reading and scoring, which overlap."""
    from models.infer import load_classifier, score_tiles

    classifier = load_classifier(model, "cpu", tuning=tuning)

    def score_all() -> int:
        batches = read_tiles(slide, plan, batch_size=classifier.batch_size)
        return sum(len(batch.prob) for batch in score_tiles(classifier, batches))

    score_all()  # libraries load, memory is taken
    tiles, started = 0, time.perf_counter()
    while not tiles or time.perf_counter() - started < OVERLAPPED_TRIALS * least_s:
        tiles += score_all()
    rate = tiles / (time.perf_counter() - started)
    classifier.close()
    return rate
