"""A throw-away PostgreSQL server for tests: Debian's binaries, a unix socket, no network.

`cluster()` starts one for the whole test process and stops it at the end; `fresh_database(cluster)`
gives each caller an empty database of its own.
"""

import atexit
import itertools
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

__all__ = ["Cluster", "cluster", "fresh_database"]

SUPERUSER = "postgres"  # initdb refuses to run as root
numbers = itertools.count()


@dataclass(frozen=True)
class Cluster:
    """A running server. `folder` holds its data and its socket."""

    programs: Path
    folder: Path

    def url(self, database: str = "postgres", *, options: str = "") -> str:
        more = f"&options={options}" if options else ""
        return f"postgresql://{SUPERUSER}@/{database}?host={self.folder}{more}"

    def start(self) -> None:
        settings = f"-c listen_addresses= -c unix_socket_directories={self.folder}"
        log = self.folder / "log"
        self._run("pg_ctl", "start", "--wait", f"--log={log}", f"--options={settings}")

    def stop(self) -> None:
        """At once, as a crash would; the next start recovers."""
        self._run("pg_ctl", "stop", "--wait", "--mode=immediate")

    def make(self) -> None:
        self._run("initdb", "--auth=trust", f"--username={SUPERUSER}", "--encoding=UTF8")

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self.programs / program, f"--pgdata={self.folder / 'data'}", *arguments],
            user=SUPERUSER if os.geteuid() == 0 else None,
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
            timeout=60,
        )


@cache
def cluster() -> Cluster:
    """Skips the calling test where PostgreSQL's server is not installed."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parts[-2]))
    if not programs:
        pytest.skip("no PostgreSQL server below /usr/lib/postgresql; apt-get install postgresql")
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    # not in tmp_path: only its owner may enter that, and a socket's path has at most 107 bytes
    folder = Path(tempfile.mkdtemp(prefix="wsi-pg-"))
    if os.geteuid() == 0:
        shutil.chown(folder, SUPERUSER)
    started = Cluster(programs[-1], folder)
    started.make()
    started.start()
    atexit.register(started.remove)
    return started


def fresh_database(server: Cluster, *, durable: bool = False) -> str:
    """URL of an empty database. Unless `durable`, its commits do not wait for the disk."""
    from sqlalchemy import create_engine, make_url, text

    name = f"test_{os.getpid()}_{next(numbers)}"
    engine = create_engine(
        make_url(server.url()).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}"'))
        if not durable:
            connection.execute(text(f'ALTER DATABASE "{name}" SET synchronous_commit = off'))
    engine.dispose()
    return server.url(name)
