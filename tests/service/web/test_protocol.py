"""Connections that are held for nothing, on a real server."""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import uvicorn

from service.web.protocol import MAX_HEAD_BYTES, PatientProtocol

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
LONG_ANSWER = b"x" * (32 << 20)


class Hasty(PatientProtocol):
    head_s, unread_s = 0.3, 0.3


async def answer(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[Any]],
    send: Callable[[Any], Awaitable[None]],
) -> None:
    """/long: more than a socket holds. /late: after the time that a head may take."""
    body = LONG_ANSWER if scope["path"] == "/long" else b"ok"
    if scope["path"] == "/late":
        await asyncio.sleep(3 * Hasty.head_s)
    length = str(len(body)).encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]}
    )
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    config = uvicorn.Config(
        answer,  # type: ignore[arg-type]
        port=0, http=Hasty, lifespan="off", log_config=None, access_log=False, ws="none",
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    yield int(server.servers[0].sockets[0].getsockname()[1])
    server.should_exit = True
    thread.join(30)


def exchange(port: int, *pieces: bytes) -> bytes:
    """All that comes until the server closes; it has 20 s for that."""
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        received = b""
        try:
            for piece in pieces:
                connection.sendall(piece)
            while block := connection.recv(1 << 16):
                received += block
        except (ConnectionResetError, BrokenPipeError):
            pass
        return received


@pytest.mark.parametrize(
    "sent", [b"", b"G", b"GET / HTTP/1.1\r\nHost: loc", b"\r\n\r\n", REQUEST[:-1]]
)
def test_head_that_does_not_end_is_given_up(port: int, sent: bytes) -> None:
    assert exchange(port, sent) == b""


def test_second_head_that_does_not_end_is_given_up(port: int) -> None:
    assert exchange(port, REQUEST + b"GET /").count(b"200 OK") == 1


def test_head_that_waits_for_a_late_answer_does_not_cut_it(port: int) -> None:
    late = REQUEST.replace(b"/ ", b"/late ", 1)
    assert exchange(port, late + b"GET /").endswith(b"ok")


@pytest.mark.parametrize("end", [b"\r\n", b""])
def test_head_that_is_too_long_is_refused(port: int, end: bytes) -> None:
    """As many fields, and as one field that goes on."""
    line = b"X-Long: " + b"x" * 8000 + end
    lines = [line] * (MAX_HEAD_BYTES // len(line))
    assert exchange(port, REQUEST[:-2], *lines) == b""  # given up for its slowness only
    assert exchange(port, REQUEST[:-2], *lines, line).startswith(b"HTTP/1.1 431 ")


def test_answer_that_nobody_reads_is_cut(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        connection.sendall(REQUEST.replace(b"/ ", b"/long ", 1))
        threading.Event().wait(4 * Hasty.unread_s)
        received = 0
        try:
            while block := connection.recv(1 << 20):
                received += len(block)
        except ConnectionResetError:
            pass
    assert received < len(LONG_ANSWER)


def test_requests_one_after_another_are_answered(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        for _ in range(5):
            connection.sendall(REQUEST)
            received = b""
            while not received.endswith(b"ok"):
                block = connection.recv(1 << 16)
                assert block, received  # b"" once the server has closed
                received += block
