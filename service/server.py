"""The whole service on one machine: the API in this process, its workers beside it."""

import logging
import resource
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import uvicorn
from fastapi import FastAPI

from service.app import create_app
from service.database import open_database
from service.deps import opened_service
from service.errors import InvalidRequest
from service.settings import Settings
from service.storage.housekeeping import Housekeeper
from service.storage.retention import clear_orphans, collect_garbage
from service.web.neighbours import is_loopback
from service.web.protocol import PatientProtocol
from service.worker.fleet import Fleet, worker_environments

__all__ = ["enough_descriptors", "require_safe_address", "serve"]

logger = logging.getLogger(__name__)

KEEP_ALIVE_S = 15
FLEET_S = 10.0
"""What workers get beyond `shutdown_s` before they are ended by force: in all less than 45 s."""

MOST_DESCRIPTORS = 1 << 16


def serve(settings: Settings, announce: Callable[[str], object]) -> None:
    """Until SIGTERM or SIGINT. `announce` is told the URL once it answers.

    Raises InvalidRequest, ModelError, before anything listens.
    """
    require_safe_address(settings)
    _raise_descriptor_limit()
    prepare(settings)
    app = create_app(settings)
    fleet = Fleet(worker_environments(settings))
    server = _Server(_config(app, settings), fleet, announce)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.end_once_started)
    fleet.start()
    try:
        with Housekeeper(lambda: _keep_house(settings)):
            server.run()
    finally:
        fleet.close(settings.shutdown_s + FLEET_S)


def _keep_house(settings: Settings) -> None:
    engine = open_database(settings.database)
    try:
        collect_garbage(settings, engine)
    finally:
        engine.dispose()


def prepare(settings: Settings) -> None:
    """This release's tables, and no leftovers of a process that died.

    All parts are opened once, because uvicorn would tell their errors as traces. Raises what a
    wrong setting deserves.
    """
    with opened_service(settings) as service:
        clear_orphans(settings, service.engine)


def _raise_descriptor_limit() -> None:
    """Each connection has one, one that asks for nothing too. Processes that this one starts may
    have as many; they need few, and so have small ones, which select() takes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # macOS has another limit below
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough_descriptors(soft, hard), hard))


def enough_descriptors(soft: int, hard: int) -> int:
    """The soft limit that a process should have: a shell gives 1,024 and allows for more."""
    if soft == resource.RLIM_INFINITY:
        return soft
    most = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    return max(soft, most)


def require_safe_address(settings: Settings) -> None:
    """Raises InvalidRequest where everybody on the network would be let in."""
    if settings.auth or is_loopback(settings.host):
        return
    raise InvalidRequest(
        f"--host {settings.host} lets others in, and nobody would be asked for a key: "
        "set WSI_AUTH=keys and make keys with `wsi keys create`, or use --host 127.0.0.1"
    )


def _config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # what a proxy says of the client is used for nothing
        ws="none",
        lifespan="on",
        http=PatientProtocol,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(settings.shutdown_s),
    )


class _Server(uvicorn.Server):
    """Tells the workers to stop as soon as it is told itself, and ends streams of events."""

    def __init__(
        self, config: uvicorn.Config, fleet: Fleet, announce: Callable[[str], object]
    ) -> None:
        super().__init__(config)
        self._fleet, self._announce = fleet, announce

    async def startup(self, sockets: "list[socket.socket] | None" = None) -> None:
        await super().startup(sockets)
        host = self.config.host
        port = self.servers[0].sockets[0].getsockname()[1]
        self._announce(f"http://{f'[{host}]' if ':' in host else host}:{port}")

    def end_once_started(self, _number: int, _frame: FrameType | None) -> None:
        """Of a signal that comes before uvicorn listens for it. It is sent by uvicorn again when
        that has ended, and changes nothing then."""
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._fleet.stop()
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: "list[socket.socket] | None" = None) -> None:
        service = getattr(self.config.loaded_app.state, "service", None)
        if service is not None:  # else listeners would hold their connections to the last second
            service.watcher.close()
        await super().shutdown(sockets)
