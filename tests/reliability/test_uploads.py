"""R8: many large uploads at the same time. What arrives is what was sent, and memory stays low."""

import shutil
import socket
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.reliability.big_slides import BigSlide
from tests.reliability.report import report, size
from tests.reliability.serving import Served, serve_api
from tests.service.shelving import files_of

pytestmark = [pytest.mark.slow, pytest.mark.reliability]

MIB = 1 << 20
GIB = 1 << 30


def upload_all(api: Served, slides: list[BigSlide]) -> list[httpx.Response | Exception]:
    """All of them begun together, each on a connection of its own."""
    answers: list[httpx.Response | Exception] = [RuntimeError("never sent")] * len(slides)
    gate = threading.Barrier(len(slides))

    def upload(number: int, slide: BigSlide) -> None:
        gate.wait()
        headers = {"Content-Length": str(slide.size_bytes)}
        try:
            answers[number] = httpx.post(
                f"{api.url}/v1/slides", content=slide.blocks(), headers=headers, timeout=600
            )
        except httpx.HTTPError as error:
            answers[number] = error

    threads = [threading.Thread(target=upload, args=pair) for pair in enumerate(slides)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def is_stored(answer: httpx.Response | Exception, slide: BigSlide) -> bool:
    if isinstance(answer, Exception) or answer.status_code != 201:
        return False
    body = answer.json()
    return bool(body["sha256"] == slide.sha256 and body["size_bytes"] == slide.size_bytes)


def require_disk(folder: Path, size_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size_bytes + 4 * GIB:
        pytest.skip(f"{free >> 30} GiB are free, {(size_bytes >> 30) + 4} GiB are needed")


def measure(id: str, folder: Path, count: int, size_bytes: int, bar_mib: int) -> None:
    require_disk(folder, count * size_bytes)
    slides = [BigSlide(number, size_bytes) for number in range(count)]
    with serve_api(folder / "data", max_uploads=count, disk_floor_bytes=0) as api:
        httpx.get(f"{api.url}/v1/slides", timeout=60).raise_for_status()
        idle_mib = api.peak_rss_bytes() / MIB
        began = time.monotonic()
        answers = upload_all(api, slides)
        seconds = time.monotonic() - began
        peak_mib = api.peak_rss_bytes() / MIB
        stored = [is_stored(*pair) for pair in zip(answers, slides, strict=True)]
        refused = [a for a in answers if isinstance(a, Exception) or a.status_code != 201]
    report(
        id,
        count,
        stored.count(False),
        size_mib=size_bytes // MIB,
        peak_rss_mib=round(peak_mib, 1),
        peak_rss_mib_bar=bar_mib,
        idle_rss_mib=round(idle_mib, 1),
        mib_per_s=round(count * size_bytes / MIB / seconds, 1),
    )
    assert refused == []
    assert all(stored)
    assert peak_mib < bar_mib


def test_what_arrives_is_what_was_sent(tmp_path: Path) -> None:
    count, size_bytes = size(8, 64), size(256 * MIB, GIB)
    measure("R8", tmp_path, count, size_bytes, size(300, 400))


@pytest.mark.timeout(1800)  # 8 GiB, on a slow disk
def test_memory_stays_low_under_64_uploads(tmp_path: Path) -> None:
    measure("R8-64x128", tmp_path, 64, 128 * MIB, 300)


def test_uploads_that_break_off_leave_nothing(tmp_path: Path) -> None:
    """Each connection is cut somewhere else."""
    count = size(16, 200)
    with serve_api(tmp_path / "data", upload_stall_s=5, disk_floor_bytes=0) as api:
        for number in range(count):
            blocks = BigSlide(number, 4 * MIB).blocks()
            with socket.create_connection(("127.0.0.1", api.port), 30) as connection:
                head = f"POST /v1/slides HTTP/1.1\r\nHost: x\r\nContent-Length: {4 * MIB}\r\n\r\n"
                connection.sendall(head.encode())
                for _ in range(number % 15):
                    connection.sendall(next(blocks))
        until = time.monotonic() + 30
        while (left := leftovers(tmp_path / "data")) and time.monotonic() < until:
            time.sleep(0.05)
        alive = httpx.get(f"{api.url}/livez", timeout=60).status_code == 200
    report("R8-cut", count, len(left))
    assert left == []
    assert alive


def leftovers(data: Path) -> list[str]:
    return [name for name in files_of(data) if name.startswith(("slides/", "incoming/"))]
