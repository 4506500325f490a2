"""A worker as a process of its own: its parts put together from the settings, and its signals."""

import os
import secrets
import signal
import socket
from types import FrameType

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from service.database import open_database, upgrade
from service.errors import ServiceError
from service.jobs.sql import SqlQueue
from service.settings import Settings
from service.storage.library import Library
from service.worker.lifeline import end_with_parent
from service.worker.supervisor import Supervisor

__all__ = ["require_living_worker", "run_worker"]

ALIVE_WITHIN_LEASES = 2


def run_worker(settings: Settings, *, once: bool = False, parent: int | None = None) -> None:
    """Works until SIGTERM or SIGINT; `once`: until no job is left to claim.

    `parent`: the process whose end, however it comes, is a SIGTERM for this one.
    """
    settings.data.mkdir(parents=True, exist_ok=True)
    engine = open_database(settings.database)
    upgrade(engine)
    queue = _open_queue(settings, engine)
    library = Library(settings.data, engine, settings)
    supervisor = Supervisor(settings, queue, library, worker_id=_name())

    def stop(number: int, frame: FrameType | None) -> None:
        supervisor.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    if parent is not None:
        end_with_parent(parent, signal.SIGTERM)
    try:
        supervisor.run(until_empty=once)
    finally:
        library.close()
        engine.dispose()


def require_living_worker(settings: Settings) -> str:
    """Id of a worker of this host (of a container: its own) that was seen within two leases.

    Raises ServiceError: none was, or the database does not say.
    """
    within_s = ALIVE_WITHIN_LEASES * settings.lease_s
    engine = open_database(settings.database)
    try:
        seen = _open_queue(settings, engine).workers(within_s)
    except SQLAlchemyError as error:
        raise ServiceError("the database does not say which workers live; is it up?") from error
    finally:
        engine.dispose()
    ours = [worker.id for worker in seen if worker.id.rsplit("-", 2)[0] == _host()]
    if not ours:
        raise ServiceError(
            f"no worker of this host ({_host()}) was seen in the last {within_s:g} s; "
            "its log says why"
        )
    return ours[0]


def _open_queue(settings: Settings, engine: Engine) -> SqlQueue:
    return SqlQueue(
        engine,
        lease_s=settings.lease_s,
        max_queued=settings.max_queued,
        max_queued_per_tenant=settings.max_queued_per_tenant,
    )


def _host() -> str:
    return socket.gethostname()[:60]


def _name() -> str:
    """Of this process among all hosts'; another start has another one."""
    return f"{_host()}-{os.getpid()}-{secrets.token_hex(4)}"
