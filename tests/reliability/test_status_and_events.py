"""R11: status and events under load. Nobody misses the end of a job."""

import json
import random
import threading
import time
from pathlib import Path
from statistics import quantiles

import httpx
import pytest

from service.database import open_database
from service.jobs import NewJob
from service.jobs.sql import SqlQueue
from service.settings import Settings
from tests.reliability.report import SEED, report, size
from tests.reliability.serving import Served, serve_api
from tests.service.jobs.databases import add_slide

pytestmark = [pytest.mark.slow, pytest.mark.reliability]

BAR_MS = 50
REQUEST = {"model": "idc-resnet18", "formats": []}


class Listener(threading.Thread):
    """Follows a job to its end, and knows when it heard of it."""

    def __init__(self, url: str, job_id: str) -> None:
        super().__init__(daemon=True)
        self._url, self.job_id = f"{url}/v1/jobs/{job_id}/events", job_id
        self.is_listening = threading.Event()
        self.final: str | None = None
        self.heard_at = 0.0

    def run(self) -> None:
        with httpx.stream("GET", self._url, timeout=120) as answer:
            for line in answer.iter_lines():
                self.is_listening.set()
                name, _, value = line.partition(": ")
                if name == "data" and json.loads(value)["state"] in ("cancelled", "succeeded"):
                    self.final, self.heard_at = json.loads(value)["state"], time.monotonic()


def open_queue(data: Path) -> SqlQueue:
    settings = Settings(data=data)
    return SqlQueue(
        open_database(settings.database), lease_s=60, max_queued=10_000, max_queued_per_tenant=5_000
    )


def ask_all(api: Served, jobs: list[str], until: threading.Event) -> list[float]:
    """Milliseconds of each answer about a job's state, one after the other."""
    chooser, took = random.Random(SEED), []
    with httpx.Client(base_url=api.url, timeout=60) as client:
        while not until.is_set():
            began = time.monotonic()
            answer = client.get(f"/v1/jobs/{chooser.choice(jobs)}")
            took.append((time.monotonic() - began) * 1000)
            assert answer.status_code == 200
    return took


def listen(api: Served, jobs: list[str]) -> list[Listener]:
    """One for each job; all of them have heard something."""
    listeners = [Listener(api.url, job_id) for job_id in jobs]
    for listener in listeners:
        listener.start()
    assert all(listener.is_listening.wait(60) for listener in listeners)
    return listeners


def end_jobs(
    queue: SqlQueue, listeners: list[Listener], ended_at: dict[str, float], done: threading.Event
) -> None:
    """One after the other; `done` once everybody has heard of it, or a minute is over."""
    for listener in listeners:
        queue.cancel("local", listener.job_id)
        ended_at[listener.job_id] = time.monotonic()
        time.sleep(0.05)
    for listener in listeners:
        listener.join(60)
    done.set()


def test_nobody_misses_the_end_of_a_job(tmp_path: Path) -> None:
    count, clients = size(100, 1_000), size(20, 200)
    with serve_api(tmp_path / "data") as api:
        httpx.get(f"{api.url}/livez", timeout=60).raise_for_status()
        queue = open_queue(tmp_path / "data")
        add_slide(queue._engine, tenant="local")
        asked = [NewJob("local", "sld_1", f"work-{number}", REQUEST) for number in range(count)]
        jobs = [queue.submit(new).job.id for new in asked]
        listeners = listen(api, random.Random(SEED).sample(jobs, clients))
        ended_at: dict[str, float] = {}
        done = threading.Event()
        ending = threading.Thread(target=end_jobs, args=(queue, listeners, ended_at, done))
        ending.start()
        took = ask_all(api, jobs, done)
        ending.join()
    missed = [listener for listener in listeners if listener.final != "cancelled"]
    lags = [(each.heard_at - ended_at[each.job_id]) * 1000 for each in listeners if each.final]
    report(
        "R11", clients, len(missed), queued=count, requests=len(took),
        p99_ms=round(quantiles(took, n=100)[-1], 1), p99_ms_bar=BAR_MS,
        p50_ms=round(quantiles(took, n=100)[49], 1),
        final_event_p99_ms=round(quantiles(lags, n=100)[-1], 1),
    )  # fmt: skip
    assert missed == []
