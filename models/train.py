"""Training of a tile classifier: a recipe and a loop.

On a machine shared with other work set OMP_WAIT_POLICY=passive: threads that spin while they wait
for each other at every layer were measured to train several times slower there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.datasets import Labelled
from models.ensemble.training import train_ensemble
from models.errors import ModelError, WeightsError
from models.imagenet import IMAGENET
from models.recipe import TrainConfig
from models.training.fewshot import EpisodeRun
from models.training.history import tell_history, write_curves
from models.training.journal import Journal
from models.training.looks import appearance_of
from models.training.parallel import Processes, joined
from models.training.parts import Parts, read_parts
from models.training.release import Origin, make_card, release
from models.training.run import Run, Validation
from models.training.schedules import Watch
from models.training.sides import digest_parts, name_sides, write_sides
from models.training.start import Start, start_network
from models.training.teaching import Teachers, read_teachers
from wsi.store.places import require_folder_place

__all__ = ["TrainConfig", "TrainProgress", "train"]

STATE = "state.safetensors"
STORES = "decoded"


@dataclass(frozen=True)
class TrainProgress:
    """After an epoch. auc is that of the validation tiles, where it was measured; so with the
    other two. stage: epochs, or those of what came before."""

    epoch: int
    epochs: int
    loss: float
    tiles_per_s: float
    auc: float | None
    validation_loss: float | None = None
    accuracy: float | None = None
    stage: str = "epochs"

    def __str__(self) -> str:
        auc = "" if self.auc is None else f", validation AUC {self.auc:.4f}"
        kind = "epoch" if self.stage == "epochs" else f"{self.stage}, epoch"
        speed = f", {self.tiles_per_s:.0f} tiles/s" if self.tiles_per_s else ""
        return f"{kind} {self.epoch} of {self.epochs}: loss {self.loss:.4f}{speed}{auc}"


OnProgress = Callable[[TrainProgress], None]


@dataclass
class Story:
    """What a run has been through; it stops and goes on with the weights. rows: a line of the log
    for each epoch. seconds: spent in them. teachers: sha256 of the weights that it learned from.
    data: digest of the tiles. how, limit: of its Start."""

    watch: Watch
    data: str
    how: str
    limit: str | None = None
    teachers: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def epochs(self) -> int:
        return len(self.rows)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def train(
    config: TrainConfig,
    data: Path,
    out: Path,
    *,
    device: str = "auto",
    weights: Path | None = None,
    imagenet: Path = IMAGENET,
    stores: Path | None = None,
    on_progress: OnProgress = lambda progress: None,
) -> Path:
    """Trains, calibrates on the validation patients, and returns the path of the card in `out`.

    A run that was stopped goes on where it was, and ends in the same weights. Started by torchrun,
    all its processes train one network; the first reports, writes, and returns last.
    weights: safetensors of a torchvision state dict to start from; its head is left out.
    Teachers that the recipe names lie beside `out`. imagenet: the folder of ImageNet weights by
    architecture. stores: that of decoded pictures and pretrained weights, which recipes of the same
    data share. An ensemble's members are trained below `out`, each in a folder of its name.
    Raises DatasetError where the data lack a class, or a part of the split; WeightsError where
    `out` holds a run of another recipe, or weights are missing; CardError where the recipe makes
    no card; ModelError where the loss is no number any more, or the disk is full; InvalidOption
    where nothing can be written to `out`.
    """
    require_folder_place(out)
    make_card(config, "weights", "0" * 64)  # a card that cannot be is refused now, not at the end
    if config.ensemble.members:
        return _train_members(config, data, out, device, weights, imagenet, stores, on_progress)
    with joined(device) as processes:
        heard = on_progress if processes.is_first else lambda progress: None
        _train_network(config, data, out, processes, weights, imagenet, stores, heard)
        return out / f"{config.name}.json"


def _train_network(
    config: TrainConfig,
    data: Path,
    out: Path,
    processes: Processes,
    weights: Path | None,
    imagenet: Path,
    stores: Path | None,
    on_progress: OnProgress,
) -> None:
    stores = stores or out / STORES
    parts = read_parts(config, data, stores, processes)
    teachers = read_teachers(config, parts.split, out.parent, processes.device)
    start = start_network(
        config,
        parts.training,
        stores,
        processes,
        weights=weights,
        imagenet=imagenet,
        on_epoch=lambda epoch, epochs, loss: on_progress(
            TrainProgress(epoch, epochs, loss, 0.0, None, stage="pretraining")
        ),
    )
    run = _make_run(config, start, parts.training, processes, teachers)
    began = _begin(run, parts, start)
    story = _learn(run, _resume(began, run, out / STATE, weights), parts, out, on_progress)
    weights_made = run.result
    if processes.is_first:
        origin = _tell(run, parts, story)
        write_sides(parts, config, out)
        write_curves(origin.training, out)
        release(config, weights_made, parts.validation, out, str(processes.device), origin=origin)
    processes.wait()


def _train_members(
    config: TrainConfig,
    data: Path,
    out: Path,
    device: str,
    weights: Path | None,
    imagenet: Path,
    stores: Path | None,
    on_progress: OnProgress,
) -> Path:
    """Each in its own folder below `out`, from the same decoded pictures."""
    if weights is not None:
        raise ModelError(
            f"{weights}: recipe {config.name} is an ensemble, whose networks differ; start its "
            "members from weights one by one"
        )
    stores = stores or out / STORES

    def train_member(member: TrainConfig) -> Path:
        return train(
            member,
            data,
            out / member.name,
            device=device,
            imagenet=imagenet,
            stores=stores,
            on_progress=lambda progress: on_progress(_named(progress, member.name)),
        )

    return train_ensemble(config, data, out, train_member, device=device, stores=stores)


def _named(progress: TrainProgress, member: str) -> TrainProgress:
    stage = "" if progress.stage == "epochs" else f", {progress.stage}"
    return replace(progress, stage=f"{member}{stage}")


def _learn(run: Run, story: Story, parts: Parts, out: Path, on_progress: OnProgress) -> Story:
    """The loop."""
    config = run.config
    journal = Journal(out, done=story.epochs, is_written=run.processes.is_first)
    for epoch in range(story.epochs, config.epochs):
        if story.watch.is_over:
            break
        started = time.perf_counter()
        loss, tiles_per_s = _run_epoch(run, parts.training, epoch, story.watch.scale)
        found = run.validate(parts.validation) if _is_due(config, epoch) else None
        progress = _progress(config, epoch, loss, tiles_per_s, found)
        rate = config.rate(epoch) * story.watch.scale
        if found is not None and story.watch.see(found.watched(config.watch)):
            run.descent.keep()
        story.rows.append(_row(progress, rate))
        story.seconds += time.perf_counter() - started
        run.save(out / STATE, story.to_json())
        journal.write(story.rows)
        on_progress(progress)
    journal.close()
    return story


def _run_epoch(run: Run, data: Labelled, epoch: int, scale: float) -> tuple[float, float]:
    """Mean loss, and tiles per second of all processes."""
    started = time.perf_counter()
    batches = run.batches(data, epoch)
    losses = [
        run.step(rgb, label, epoch, step, scale * run.config.rate(epoch + step / len(batches)))
        for step, (rgb, label) in enumerate(_fetched(data, batches))
    ]
    loss = float(np.mean(losses))
    if not np.isfinite(loss):
        raise ModelError(
            f"recipe {run.config.name}: the loss is {loss} in epoch {epoch + 1}; use a smaller "
            "learning_rate, or clip"
        )
    tiles = sum(map(len, batches)) * run.processes.count
    return loss, tiles / (time.perf_counter() - started)


def _fetched(
    data: Labelled, batches: Sequence[npt.NDArray[np.int64]]
) -> Iterator[tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]]:
    """Pixels and labels; the next batch is read while this one is learned from."""
    label = data.label
    with ThreadPoolExecutor(1, thread_name_prefix="tiles") as reader:
        ahead = reader.submit(data.batch, batches[0])
        for batch, following in zip(batches, [*batches[1:], None], strict=True):
            rgb = ahead.result()
            if following is not None:
                ahead = reader.submit(data.batch, following)
            yield rgb, label[batch]


def _begin(run: Run, parts: Parts, start: Start) -> Story:
    asked = run.config
    watch = Watch(asked.patience, asked.rate_factor, asked.stop_after)
    teachers = run.teachers.weights_sha256 if run.teachers else []
    return Story(watch, digest_parts(parts), start.how, start.limit, teachers)


def _resume(began: Story, run: Run, path: Path, weights: Path | None) -> Story:
    """What the run in `path` has been through; `began` where there is none.

    How it once started stays what it was, though other weights may be at hand by now. Raises
    WeightsError where it learned from other tiles, teachers or the weights that were asked for.
    """
    stored = run.resume(path)
    if stored is None:
        return began
    story = Story(**asdict(began) | stored | {"watch": Watch(**stored["watch"])})
    if story.teachers != began.teachers:
        others = f"its teachers were trained again since ({', '.join(run.config.teach.teachers)})"
    elif story.data != began.data:
        others = "it learned from other tiles, or the split is another one now"
    elif weights is not None and story.how != began.how:
        others = f"it did not start from {weights}, but so: {story.how}"
    else:
        return story
    raise WeightsError(f"{path}: {others}; train into another folder")


def _is_due(config: TrainConfig, epoch: int) -> bool:
    return (epoch + 1) % config.validate_every == 0 or epoch + 1 == config.epochs


def _progress(
    config: TrainConfig, epoch: int, loss: float, tiles_per_s: float, found: Validation | None
) -> TrainProgress:
    measured = asdict(found) if found else {"loss": None, "accuracy": None, "auc": None}
    return TrainProgress(
        epoch=epoch + 1,
        epochs=config.epochs,
        loss=loss,
        tiles_per_s=tiles_per_s,
        auc=measured["auc"],
        validation_loss=measured["loss"],
        accuracy=measured["accuracy"],
    )


def _row(progress: TrainProgress, rate: float) -> dict[str, Any]:
    """A line of the log. rate: at the beginning of the epoch."""
    names = ("epoch", "loss", "validation_loss", "accuracy", "auc", "tiles_per_s")
    return {name: getattr(progress, name) for name in names} | {"rate": rate}


def _make_run(
    config: TrainConfig,
    start: Start,
    training: Labelled,
    processes: Processes,
    teachers: Teachers | None,
) -> Run:
    if config.few_shot.shots:
        return EpisodeRun(start.network, config, training, processes)
    return Run(start.network, config, training.label, processes, teachers)


def _tell(run: Run, parts: Parts, story: Story) -> Origin:
    parameters = list(run.descent.network.parameters())
    named = zip(run.config.teach.teachers, story.teachers, strict=True)
    taught: dict[str, Any] = {"teachers": dict(named)} if story.teachers else {}
    return Origin(
        split=parts.split,
        limits=(story.limit,) if story.limit else (),
        appearance=appearance_of(parts.training, run.config.mpp),
        training={
            "start": story.how,
            "epochs": story.epochs,
            "seconds": round(story.seconds),
            **taught,
            "device": run.processes.device_name,
            "precision": run.descent.precision,
            "processes": run.processes.count,
            "tiles": len(parts.training),
            "patients": len(parts.training.patients),
            **name_sides(parts),
            **tell_history(story.rows, run.config),
            "parameters": sum(parameter.numel() for parameter in parameters),
            "learning_parameters": sum(p.numel() for p in parameters if p.requires_grad),
        },
    )
