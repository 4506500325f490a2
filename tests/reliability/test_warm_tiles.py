"""R10: 64 connections that ask for warm heatmap tiles, with keys, alone and beside a job."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.access.keys import ApiKeys
from tests.reliability.report import report, size
from tests.reliability.serving import Served, serve_api
from tests.service.api.harness import Api, Workshop
from tests.service.painted import paint, write_slide
from tests.service.worker.workshop import make_slide

pytestmark = [pytest.mark.slow, pytest.mark.reliability, pytest.mark.timeout(1800)]

CONNECTIONS = 64
SECONDS = size(30, 600)
PER_S_BAR, P99_MS_BAR, P99_MS_BAR_BESIDE_A_JOB = 2000, 60, 120
CELL_PX, COLUMNS, ROWS = 16, 96, 64
ROOT = Path(__file__).resolve().parents[2]


class Larger(Workshop):
    """A result of several tiles."""

    def slide_bytes(self, seed: int = 0) -> bytes:
        values = (np.arange(COLUMNS * ROWS) * 89 % 241).astype(np.uint8).reshape(ROWS, COLUMNS)
        pixels = paint(values, CELL_PX, CELL_PX * COLUMNS, CELL_PX * ROWS)
        pixels[0, 0, 1] = seed
        path = write_slide(self.folder / f"slide-{seed}.tiff", [pixels], 0.5)
        return path.read_bytes()


@dataclass(frozen=True)
class Shown:
    served: Served
    key: str
    expected: dict[str, str]  # address of a tile to the sha256 of its bytes


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Shown]:
    """A finished result behind the real server, each of its tiles made once."""
    data, workshop = tmp_path / "data", Larger(tmp_path / "workshop")
    with Api(workshop, data, None, auth=("keys",)) as api:
        _, key = ApiKeys(api.service.engine).create("ann", "load")
        result = api.finished(headers={"Authorization": f"Bearer {key}"})["links"]["result"]
    options = {"auth": "keys", "model": workshop.model, "workers": 1, "disk_floor_bytes": 0}
    options |= {"sandbox": "off", "batch_size": 64, "max_queued_per_tenant": 10**6}
    with serve_api(data, **options) as served:
        yield Shown(served, key, warm(served.url, key, result))


def warm(url: str, key: str, result: str) -> dict[str, str]:
    found = {}
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
        deepest = client.get(f"{result}/tilejson.json").json()["maxzoom"]
        for z in range(deepest + 1):
            for x in range(-(-(CELL_PX * COLUMNS >> (deepest - z)) // 256)):
                for y in range(-(-(CELL_PX * ROWS >> (deepest - z)) // 256)):
                    address = f"{result}/tiles/{z}/{x}/{y}.png?cmap=magma&alpha=0.5"
                    answer = client.get(address)
                    answer.raise_for_status()
                    found[address] = hashlib.sha256(answer.content).hexdigest()
    return found


def press(shown: Shown) -> dict[str, Any]:
    fields = f"Authorization: Bearer {shown.key}\r\n"
    answer = subprocess.run(
        [sys.executable, "-m", "tests.reliability.tile_load",
         str(shown.served.port), str(CONNECTIONS), str(SECONDS)],
        input=json.dumps({"expected": shown.expected, "fields": fields}),
        capture_output=True, text=True, check=True, cwd=ROOT, timeout=SECONDS + 60,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def tell(found: dict[str, Any], p99_ms_bar: int, **more: Any) -> None:
    figures = {name: found[name] for name in ("per_s", "p50_ms", "p99_ms")}
    report(
        "R10", found["requests"], found["errors"], **figures, per_s_bar=PER_S_BAR,
        p99_ms_bar=p99_ms_bar, seconds=SECONDS, cores=os.cpu_count(), **more,
    )  # fmt: skip


def test_warm_tiles_are_served_whole(shown: Shown) -> None:
    assert len(shown.expected) > 24
    found = press(shown)
    tell(found, P99_MS_BAR, beside="nothing")
    assert (found["errors"], found["first_errors"]) == (0, [])


def test_warm_tiles_are_served_whole_beside_jobs(shown: Shown, tmp_path: Path) -> None:
    """Jobs enough for the whole time, one after another."""
    content = make_slide(tmp_path / "busy.tiff", tiles=128).read_bytes()
    with httpx.Client(
        base_url=shown.served.url, headers={"Authorization": f"Bearer {shown.key}"}, timeout=60
    ) as client:
        slide = client.post("/v1/slides", content=content).json()["id"]
        for number in range(10 * SECONDS):
            body = {"slide_id": slide, "params": {"mpp": 0.5 + number / 1e6}}
            client.post("/v1/jobs", json=body).raise_for_status()
        found = press(shown)
        running = client.get("/v1/jobs?state=running").json()["items"]
        done = len(client.get("/v1/jobs?state=succeeded&limit=200").json()["items"])
    tell(found, P99_MS_BAR_BESIDE_A_JOB, beside="jobs", jobs_done=done)
    assert (found["errors"], found["first_errors"]) == (0, [])
    assert len(running) == 1
