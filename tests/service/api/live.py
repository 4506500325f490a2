"""The application behind a real server on loopback: what ASGI in one process cannot show."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from tests.service.api.harness import Api

__all__ = ["raw_exchange", "served"]


@contextmanager
def served(api: Api) -> Iterator[str]:
    """The URL of the application."""
    config = uvicorn.Config(
        api.app, port=0, lifespan="off", log_config=None, access_log=False, ws="none"
    )
    server = uvicorn.Server(config)
    running = api.start(server.serve())
    try:
        api.run(_started(server))
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        running.result(30)


async def _started(server: uvicorn.Server) -> None:
    while not server.started:
        await asyncio.sleep(0.005)


def raw_exchange(url: str, request: bytes, *, half_close: bool = True) -> bytes:
    """What the server answers to these very bytes, until it closes."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), 10) as connection:
        connection.sendall(request)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while block := connection.recv(65536):
                answer += block
        except ConnectionResetError:
            pass
        return answer
