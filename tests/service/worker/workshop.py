"""A data folder with painted slides and a queue on SQLite, and workers that are processes."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from service.access.auth import Owner
from service.database import open_database, upgrade
from service.ids import new_id
from service.jobs import Job, NewJob
from service.jobs.sql import SqlQueue
from service.settings import Settings
from service.storage.reservation import Held, Reservation, Reservations
from service.worker.supervisor import Supervisor
from tests.service.jobs.databases import add_slide
from tests.service.painted import paint, write_model, write_slide

__all__ = [
    "TENANT",
    "SlidesInFolders",
    "Workshop",
    "ended",
    "make_queue",
    "make_slide",
    "make_workshop",
    "slug",
    "work",
]

ROOT = Path(__file__).resolve().parents[3]
TENANT = "painter"
TILE_PX = 16
QUICK = {"lease_s": 2, "heartbeat_s": 0.2, "poll_s": 0.05, "device": "cpu", "batch_size": 64}
LIMIT_S = 60


class SlidesInFolders:
    """slides/<id>/slide.tiff, for every tenant."""

    def __init__(
        self, data: Path, floor_bytes: int = 0, check: Callable[[Held], None] | None = None
    ) -> None:
        self._data, self._check = data, check
        self._reservations = Reservations(data, floor_bytes)

    def path_of(self, tenant: str, slide_id: str) -> Path:
        return self._data / "slides" / slide_id / "slide.tiff"

    def pinned_sha256(self, tenant: str, slide_id: str) -> str | None:
        """As of a slide that stays in its place, where a test has written it down."""
        note = self._data / "slides" / slide_id / "sha256"
        return note.read_text() if note.is_file() else None

    def reserve(self, owner: Owner, size_bytes: int) -> Reservation:
        return self._reservations.reserve(size_bytes, owner=owner, check=self._check)

    def set_facts(self, tenant: str, slide_id: str, facts: Mapping[str, Any]) -> None:
        (self._data / "slides" / slide_id / "facts.json").write_text(json.dumps(facts))


def make_queue(settings: Settings) -> SqlQueue:
    engine = open_database(settings.database)
    upgrade(engine)
    return SqlQueue(engine, lease_s=settings.lease_s, max_queued=1000, max_queued_per_tenant=1000)


def make_slide(path: Path, tiles: int = 8) -> Path:
    """`tiles` x `tiles` tiles of 16 px at 0.5 um/px, each of another red than its neighbours."""
    values = (np.arange(tiles * tiles) * 89 % 241).astype(np.uint8).reshape(tiles, tiles)
    side = tiles * TILE_PX
    return write_slide(path, [paint(values, TILE_PX, side, side)], 0.5)


@dataclass
class Workshop:
    settings: Settings
    queue: SqlQueue
    master: Path  # a slide that the others are links to
    model: str
    workers: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    @property
    def results(self) -> Path:
        return self.settings.data / "results"

    def folder(self, job: Job) -> Path:
        return self.results / job.result_id

    def partial(self, job: Job) -> Path:
        return self.results / f"{job.result_id}.partial"

    def add_slide(self, source: Path | None = None) -> str:
        slide_id = new_id("sld")
        folder = self.settings.data / "slides" / slide_id
        folder.mkdir(parents=True)
        os.link(source or self.master, folder / "slide.tiff")
        add_slide(self.queue._engine, slide_id, TENANT)
        return slide_id

    def submit(self, slide_id: str | None = None, **request: Any) -> Job:
        slide_id = slide_id or self.add_slide()
        fields = {"model": self.model, "mask": "none", "formats": ["ome-zarr", "csv"], **request}
        work = f"{slide_id}{json.dumps(fields, sort_keys=True)}"
        work_key = hashlib.sha256(work.encode()).hexdigest()
        return self.queue.submit(NewJob(TENANT, slide_id, work_key, fields)).job

    def get(self, job: Job) -> Job:
        return self.queue.get(TENANT, job.id)

    def start_worker(self, *options: str) -> "subprocess.Popen[bytes]":
        """A worker as `wsi worker` is one, in a process of its own; see faulty_worker."""
        worker = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.faulty_worker", *options],
            cwd=ROOT,
            env=os.environ | self.environment(),
        )
        self.workers.append(worker)
        return worker

    def environment(self) -> dict[str, str]:
        dumped = self.settings.model_dump(mode="json", exclude_defaults=True)
        return {f"WSI_{name.upper()}": str(value) for name, value in dumped.items()}

    def await_job(self, job: Job, is_there: Callable[[Job], bool], limit_s: float = LIMIT_S) -> Job:
        until = time.monotonic() + limit_s
        while not is_there(now := self.get(job)):
            assert time.monotonic() < until, f"after {limit_s:g} s still {now}"
            time.sleep(0.01)
        return now

    def await_end(self, *jobs: Job, limit_s: float = LIMIT_S) -> list[Job]:
        return [self.await_job(job, lambda now: now.state.is_final, limit_s) for job in jobs]

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
            worker.wait()


def make_workshop(folder: Path, *, tiles: int = 8, **settings: Any) -> Workshop:
    folder.mkdir(parents=True, exist_ok=True)
    model = write_model(folder / "model", TILE_PX, 0.5)
    made = Settings(data=folder / "data", model=model, **QUICK | settings)
    shutil.rmtree(made.data, ignore_errors=True)
    made.data.mkdir()
    return Workshop(made, make_queue(made), make_slide(folder / "master.tiff", tiles), model)


def work(workshop: Workshop, **more: Any) -> None:
    """By a supervisor in this process, until nothing is left to claim. `check`: of a quota."""
    settings = more.pop("settings", workshop.settings)
    slides = SlidesInFolders(settings.data, settings.disk_floor_bytes, more.pop("check", None))
    supervisor = Supervisor(
        settings,
        more.pop("queue", workshop.queue),
        more.pop("slides", slides),
        worker_id="tester",
        retry_s=more.pop("retry_s", 0.0),
        **more,
    )
    supervisor.run(until_empty=True)


def ended(workshop: Workshop, job: Job, **more: Any) -> Job:
    work(workshop, **more)
    return workshop.get(job)


def slug(job: Job) -> str:
    assert job.error is not None
    return str(job.error["type"]).removeprefix("/problems/")
