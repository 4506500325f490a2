"""A worker as a process of its own: its parts put together from the settings, and its signals."""

import os
import secrets
import signal
import socket
from types import FrameType

from service.database import open_database, upgrade
from service.jobs.sql import SqlQueue
from service.library import Library
from service.settings import Settings
from service.worker.lifeline import end_with_parent
from service.worker.supervisor import Supervisor

__all__ = ["run_worker"]


def run_worker(settings: Settings, *, once: bool = False, parent: int | None = None) -> None:
    """Works until SIGTERM or SIGINT; `once`: until no job is left to claim.

    `parent`: the process whose end, however it comes, is a SIGTERM for this one.
    """
    settings.data.mkdir(parents=True, exist_ok=True)
    engine = open_database(settings.database)
    upgrade(engine)
    queue = SqlQueue(
        engine,
        lease_s=settings.lease_s,
        max_queued=settings.max_queued,
        max_queued_per_tenant=settings.max_queued_per_tenant,
    )
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


def _name() -> str:
    """Of this process among all hosts'; another start has another one."""
    return f"{socket.gethostname()[:60]}-{os.getpid()}-{secrets.token_hex(4)}"
