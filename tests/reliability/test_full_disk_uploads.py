"""R5, uploads: a full disk is 507, what is there is served, and all works again afterwards."""

import select
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.reliability.report import report
from tests.reliability.serving import Served, serve_api
from tests.service.shelving import files_of, tiff_bytes
from tests.service.small_disk import Filler, small_disk
from tests.service.zips import MRXS, pack

pytestmark = [pytest.mark.slow, pytest.mark.reliability]

MIB = 1 << 20
TRIALS = 4
Upload = tuple[Iterator[bytes], int]
"""A body and its Content-Length."""

ARCHIVE = pack({**MRXS, "a/Index.dat": bytes(900_000)})


def announced_too_long(filler: Filler) -> Upload:
    return (b"x" * MIB for _ in range(40)), 40 * MIB


def filled_before_the_body(filler: Filler) -> Upload:
    filler.take_all()
    return iter([tiff_bytes(seed=7)]), len(tiff_bytes(seed=7))


def filled_in_the_body(filler: Filler) -> Upload:
    def blocks() -> Iterator[bytes]:
        yield b"x" * (4 * MIB)
        filler.take_all()
        for _ in range(16):
            yield b"x" * (MIB // 2)

    return blocks(), 12 * MIB


def filled_at_its_end(filler: Filler) -> Upload:
    """There is room for the zip, and none for what it holds."""

    def blocks() -> Iterator[bytes]:
        yield ARCHIVE[:-1]
        filler.take_all()
        yield ARCHIVE[-1:]

    return blocks(), len(ARCHIVE)


CASES: tuple[Callable[[Filler], Upload], ...] = (
    announced_too_long,
    filled_before_the_body,
    filled_in_the_body,
    filled_at_its_end,
)


def upload(served: Served, body: bytes) -> httpx.Response:
    return httpx.post(f"{served.url}/v1/slides", content=body, timeout=60)


def status_of(served: Served, blocks: Iterator[bytes], length: int) -> int:
    """As curl does it: the body stops where an answer comes first."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as connection:
        connection.sendall(
            f"POST /v1/slides HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        try:
            for block in blocks:
                if select.select([connection], [], [], 0)[0]:
                    break
                connection.sendall(block)
        except OSError:  # the answer came, and then the connection was closed
            pass
        return int(connection.recv(4096).split()[1])


def test_uploads_meet_a_full_disk(tmp_path: Path):
    failures: list[str] = []
    with small_disk(tmp_path / "disk", 24 * MIB) as disk:
        data, filler = disk / "data", Filler(disk)
        with serve_api(data, disk_floor_bytes=0) as served:
            slides = f"{served.url}/v1/slides"
            known = upload(served, tiff_bytes()).json()
            before = files_of(data)
            for trial in range(TRIALS):
                for case in CASES:
                    status = status_of(served, *case(filler))
                    kept = httpx.get(f"{slides}/{known['id']}", timeout=60).status_code
                    filler.give_back()
                    again = upload(served, tiff_bytes(seed=1))
                    httpx.delete(f"{slides}/{again.json()['id']}", timeout=60)
                    left = files_of(data) != before
                    if (status, kept, again.status_code, left) != (507, 200, 201, False):
                        failures.append(f"{trial} {case.__name__}: {status} {kept} {again}")
    report("R5-uploads", TRIALS * len(CASES), len(failures))
    assert failures == []
