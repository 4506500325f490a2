"""Whether a worker of this host lives, as a container's health check asks."""

import socket
import time
from pathlib import Path

import pytest

from service.database import open_database, upgrade
from service.errors import ServiceError
from service.jobs.sql import SqlQueue
from service.settings import Settings
from service.worker.process import require_living_worker

HOST = socket.gethostname()[:60]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(data=tmp_path, lease_s=30)
    engine = open_database(settings.database)
    upgrade(engine)
    engine.dispose()
    return settings


def beat(settings: Settings, worker: str, ago_s: float = 0.0) -> None:

    engine = open_database(settings.database)
    now = time.time() - ago_s
    SqlQueue(engine, lease_s=30, max_queued=1, max_queued_per_tenant=1, clock=lambda: now).beat(
        worker, {}
    )
    engine.dispose()


def test_worker_of_this_host_that_beats_lives(settings: Settings) -> None:
    beat(settings, f"{HOST}-123-0a1b2c3d")
    assert require_living_worker(settings) == f"{HOST}-123-0a1b2c3d"


def test_worker_that_was_quiet_for_two_leases_does_not(settings: Settings) -> None:
    beat(settings, f"{HOST}-123-0a1b2c3d", ago_s=61)
    with pytest.raises(ServiceError, match="in the last 60 s"):
        require_living_worker(settings)


@pytest.mark.parametrize("host", ["another", f"{HOST}-2", f"{HOST}2", HOST[:-1]])
def test_workers_of_other_hosts_do_not_count(settings: Settings, host: str) -> None:
    beat(settings, f"{host}-123-0a1b2c3d")
    with pytest.raises(ServiceError, match=HOST):
        require_living_worker(settings)


def test_database_without_tables_says_nothing_of_workers(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="database"):
        require_living_worker(Settings(data=tmp_path))
