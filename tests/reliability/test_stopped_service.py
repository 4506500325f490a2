"""R17: SIGTERM to the whole service while clients send slides and jobs run."""

import random
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.reliability.report import SEED, report
from tests.service.served import LIMIT_S, Served
from tests.service.worker.workshop import make_slide

pytestmark = [pytest.mark.slow, pytest.mark.reliability, pytest.mark.timeout(300)]

TRIALS = 5
CLIENTS = 4
BAR_S = 45


class Client(threading.Thread):
    """Sends slides, each with a job, until nobody answers; knows what was acknowledged."""

    def __init__(self, url: str, slide: bytes, number: int) -> None:
        super().__init__()
        self.url, self.slide, self.number = url, slide, number
        self.acknowledged: list[str] = []
        self.unexpected: list[httpx.Response] = []

    def run(self) -> None:
        count = 0
        try:
            while True:
                count += 1
                # what follows a TIFF's last byte changes no pixel, but it is another slide
                body = self.slide + f"{self.url} {self.number} {count}".encode()
                self.send(body)
        except httpx.TransportError:
            pass

    def send(self, body: bytes) -> None:
        kind = {"Content-Type": "application/octet-stream"}
        answer = httpx.post(f"{self.url}/v1/heatmaps", content=body, headers=kind, timeout=LIMIT_S)
        if answer.status_code == 202:
            self.acknowledged.append(answer.json()["id"])
        elif answer.status_code not in (429, 503):
            self.unexpected.append(answer)


def test_service_that_is_told_to_end_loses_nothing_it_acknowledged(tmp_path: Path):
    chance = random.Random(SEED)
    slide = make_slide(tmp_path / "slide.tiff", 16).read_bytes()
    acknowledged: list[str] = []
    exits_s, codes, unexpected = [], [], []
    for _ in range(TRIALS):
        service = Served(tmp_path)
        clients = [Client(service.url, slide, number) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        time.sleep(chance.uniform(0.2, 2))
        service.process.terminate()
        began = time.monotonic()
        codes.append(service.process.wait(BAR_S))
        exits_s.append(round(time.monotonic() - began, 2))
        for client in clients:
            client.join()
            acknowledged += client.acknowledged
            unexpected += client.unexpected
        service.close()
    lost = await_all(tmp_path, acknowledged)
    report(
        "R17", TRIALS, len(lost) + sum(code != 0 for code in codes), exits_s=exits_s, bar_s=BAR_S,
        acknowledged=len(acknowledged), lost=len(lost), what="the whole service",
    )  # fmt: skip
    assert acknowledged
    assert (lost, unexpected) == ([], [])
    assert codes == [0] * TRIALS


def await_all(folder: Path, jobs: list[str]) -> list[str]:
    """Those that a service started anew does not know, or does not end well."""
    service = Served(folder)
    try:
        ends = {job: state_at_end(service.url, job) for job in jobs}
    finally:
        service.close()
    return [f"{job}: {state}" for job, state in ends.items() if state != "succeeded"]


def state_at_end(url: str, job: str) -> str:
    until = time.monotonic() + LIMIT_S
    while time.monotonic() < until:
        answer = httpx.get(f"{url}/v1/jobs/{job}", params={"wait": 20}, timeout=LIMIT_S)
        if answer.status_code != 200:
            return str(answer.status_code)
        state = str(answer.json()["state"])
        if state not in ("queued", "running"):
            return state
    return state
