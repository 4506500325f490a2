"""R8: uploads at the same time cost the API a block of memory each, and arrive whole."""

import asyncio
import hashlib
import json
import os
import shutil
import time
from pathlib import Path

import pytest

from tests.reliability.report import SEED, report
from tests.reliability.serving import serve_api
from tests.service.shelving import tiff_bytes

pytestmark = [pytest.mark.slow, pytest.mark.reliability]

MIB = 1 << 20
UPLOADS = 64
SIZE_BYTES = int(os.environ.get("WSI_RELIABILITY_UPLOAD_MIB", "8")) * MIB
MOST_RSS_BYTES = 300 * MIB


async def upload(port: int, number: int) -> tuple[str, dict[str, str]]:
    """A TIFF with noise behind it, another one for each number: sha256 and the answer."""
    noise = hashlib.shake_256(f"{SEED} {number}".encode()).digest(MIB)
    head = tiff_bytes(seed=number).ljust(MIB, b"\0")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"POST /v1/slides HTTP/1.1\r\nHost: localhost\r\nContent-Length: {SIZE_BYTES}\r\n"
        "Content-Type: image/tiff\r\nConnection: close\r\n\r\n".encode()
    )
    sha256 = hashlib.sha256()
    for block in (head, *[noise] * (SIZE_BYTES // MIB - 1)):
        sha256.update(block)
        writer.write(block)
        await writer.drain()
    answer = await reader.read()
    writer.close()
    return sha256.hexdigest(), json.loads(answer.partition(b"\r\n\r\n")[2])


async def upload_all(port: int) -> list[tuple[str, dict[str, str]]]:
    return await asyncio.gather(*(upload(port, number) for number in range(UPLOADS)))


@pytest.mark.timeout(1800)
def test_concurrent_uploads_arrive_whole_in_little_memory(tmp_path: Path):
    with serve_api(tmp_path / "data", disk_floor_bytes=0) as served:
        idle = served.peak_rss_bytes()
        began = time.perf_counter()
        answers = asyncio.run(upload_all(served.port))
        took_s = time.perf_counter() - began
        peak = served.peak_rss_bytes()
    shutil.rmtree(tmp_path / "data")
    wrong = [answer for sha256, answer in answers if answer.get("sha256") != sha256]
    report(
        "R8",
        UPLOADS,
        len(wrong),
        size_mib=SIZE_BYTES // MIB,
        rss_mib=peak // MIB,
        rss_mib_bar=MOST_RSS_BYTES // MIB,
        idle_rss_mib=idle // MIB,
        mib_per_s=round(UPLOADS * SIZE_BYTES / MIB / took_s),
    )
    assert wrong == []
    assert peak < MOST_RSS_BYTES
