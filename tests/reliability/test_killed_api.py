"""R2: kill -9 of the API under mixed writes. Whatever was acknowledged is there afterwards."""

import hashlib
import os
import random
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.database import open_database
from service.settings import Settings
from service.storage.library import Library
from tests.reliability.queues import fill
from tests.reliability.report import SEED, report, size
from tests.reliability.serving import serve_api
from tests.service.painted import write_model
from tests.service.shelving import tiff_bytes

pytestmark = [pytest.mark.slow, pytest.mark.reliability]

KILLS = size(10, 100)
WRITERS = 4
WAITING_JOBS = 10_000
READY_S = 3
"""The bar; printed, not asserted."""


@dataclass
class Acknowledged:
    """What the service said has happened. The lists only grow; each writer has one of its own."""

    slides: dict[str, str] = field(default_factory=dict)  # id to sha256
    jobs: dict[str, str] = field(default_factory=dict)  # id to the slide's id
    cancelled: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)  # slides
    unsure: set[str] = field(default_factory=set)  # a write to these was cut off

    def add(self, other: "Acknowledged") -> None:
        for name in ("slides", "jobs", "cancelled", "deleted", "unsure"):
            getattr(self, name).update(getattr(other, name))

    def __len__(self) -> int:
        return sum(map(len, (self.slides, self.jobs, self.cancelled, self.deleted)))


class Writer(threading.Thread):
    """Uploads, asks, cancels and deletes until the API is gone."""

    def __init__(self, url: str, seed: int) -> None:
        super().__init__()
        self._url, self._seed = url, seed
        self.said = Acknowledged()
        self.refused: list[tuple[int, str]] = []

    def run(self) -> None:
        number = 0
        with httpx.Client(base_url=self._url, timeout=30) as client:
            try:
                while True:
                    self._write(client, 1000 * self._seed + number)
                    number += 1
            except httpx.TransportError:  # it was killed
                return

    def _write(self, client: httpx.Client, seed: int) -> None:
        content = tiff_bytes(seed=seed)
        slide = self._send(client, "POST", "/v1/slides", content=content)
        self.said.slides[slide["id"]] = hashlib.sha256(content).hexdigest()
        job = self._send(client, "POST", "/v1/jobs", json={"slide_id": slide["id"]})
        self.said.jobs[job["id"]] = slide["id"]
        if seed % 3 == 0:
            return
        self.said.unsure.add(job["id"])
        self._send(client, "POST", f"/v1/jobs/{job['id']}/cancel")
        self.said.cancelled.add(job["id"])
        if seed % 3 == 1:
            return
        self.said.unsure.add(slide["id"])
        self._send(client, "DELETE", f"/v1/slides/{slide['id']}")
        self.said.deleted.add(slide["id"])

    def _send(self, client: httpx.Client, method: str, path: str, **body: Any) -> dict[str, Any]:
        answer = client.request(method, path, **body)
        if not answer.is_success:
            self.refused.append((answer.status_code, answer.text))
            raise httpx.TransportError("a write was refused")
        return dict(answer.json()) if answer.content else {}


def write_and_kill(data: Path, round_: int, chance: random.Random, **settings: Any) -> Any:
    """What was acknowledged before the end, what was refused, and seconds until it was ready."""
    began = time.monotonic()
    with serve_api(data, **settings) as served:
        with httpx.Client(base_url=served.url, timeout=60) as client:
            client.get("/v1/jobs").raise_for_status()
        ready_s = time.monotonic() - began
        writers = [Writer(served.url, 10 * round_ + number) for number in range(WRITERS)]
        for writer in writers:
            writer.start()
        while not any(len(writer.said) for writer in writers):  # uploads take their time
            assert all(writer.is_alive() for writer in writers), writers[0].refused
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 2))
        os.kill(served.pid, signal.SIGKILL)
        for writer in writers:
            writer.join()
    said = Acknowledged()
    for writer in writers:
        said.add(writer.said)
    return said, [each for writer in writers for each in writer.refused], ready_s


def check(data: Path, url: str, said: Acknowledged, settings: Settings) -> list[str]:
    """What is not as it was acknowledged, asked over HTTP; the slides' bytes are read from disk."""
    wrong = []
    engine = open_database(settings.database)
    library = Library(data, engine, settings)
    with httpx.Client(base_url=url, timeout=60) as client:
        for slide_id, sha256 in said.slides.items():
            status = client.get(f"/v1/slides/{slide_id}").status_code
            if slide_id in said.deleted:
                wrong += [f"{slide_id} is back"] if status != 404 else []
            elif status == 200:
                content = library.get("local", slide_id).path.read_bytes()
                found = hashlib.sha256(content).hexdigest()
                wrong += [f"{slide_id} has other bytes"] if found != sha256 else []
            elif slide_id not in said.unsure:
                wrong.append(f"{slide_id}: {status}")
        for job_id, slide_id in said.jobs.items():
            answer = client.get(f"/v1/jobs/{job_id}")
            state = answer.json().get("state")
            wanted = {"cancelled"} if job_id in said.cancelled else {"queued"}
            wanted |= {"cancelled"} if job_id in said.unsure else set()
            if state not in wanted or answer.json()["slide_id"] != slide_id:
                wrong.append(f"{job_id} is {state}, not {wanted}")
    library.close()
    engine.dispose()
    return wrong


def leftovers(data: Path) -> list[Path]:
    """Half-written things after a start."""
    return [*(data / "incoming").glob("*"), *(data / "slides").glob("*.partial")]


@pytest.mark.timeout(1800)
def test_what_was_acknowledged_outlives_the_process(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    data = tmp_path / "data"
    data.mkdir()
    settings: dict[str, Any] = {
        "model": write_model(tmp_path / "model", 16, 0.5),
        "disk_floor_bytes": 0,
        "max_queued": 10**6,
        "max_queued_per_tenant": 10**6,
    }
    said, refused, ready = Acknowledged(), [], []
    wrong: list[str] = []
    for round_ in range(KILLS):
        new, new_refused, ready_s = write_and_kill(data, round_, chance, **settings)
        said.add(new)
        refused += new_refused
        ready.append(ready_s)
    fill(f"sqlite:///{data / 'wsi.sqlite3'}", WAITING_JOBS)
    began = time.monotonic()
    with serve_api(data, **settings) as served:
        with httpx.Client(base_url=served.url, timeout=60) as client:
            client.get("/v1/jobs").raise_for_status()
        full_ready_s = time.monotonic() - began
        wrong += check(data, served.url, said, Settings(data=data))
        left = leftovers(data)
    report(
        "R2", KILLS, len(wrong), acknowledged=len(said), refused=len(refused), left=len(left),
        ready_s=[round(each, 2) for each in ready], ready_with_10000_jobs_s=round(full_ready_s, 2),
        ready_s_bar=READY_S,
    )  # fmt: skip
    assert len(said) >= KILLS
    assert wrong == []
    assert refused == []
    assert left == []
