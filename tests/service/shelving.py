"""Libraries and shelves for tests: a data folder, a database, and rows as the queue makes them."""

import io
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import tifffile
from sqlalchemy import Engine, insert

from service.database import jobs, open_database, results, upgrade
from service.ids import new_id
from service.settings import Settings
from service.storage.gatekeeper import admit
from service.storage.library import Library, Stored
from tests.wsi.readers.tiffs import make_pixels

TENANT = "t1"


def make_settings(data: Path, **options: Any) -> Settings:
    options.setdefault("disk_floor_bytes", 0)
    return Settings(data=data, **options)


@cache
def empty_database() -> bytes:
    """SQLite's file with all tables: migrations take longer than a copy."""
    with tempfile.TemporaryDirectory() as folder:
        engine = open_database(f"sqlite:///{folder}/wsi.sqlite3")
        upgrade(engine)
        engine.dispose()  # the last connection empties the write-ahead log
        return Path(folder, "wsi.sqlite3").read_bytes()


def make_engine(data: Path) -> Engine:
    data.mkdir(parents=True, exist_ok=True)
    (data / "wsi.sqlite3").write_bytes(empty_database())
    return open_database(make_settings(data).database)


def make_library(
    data: Path, engine: Engine, clock: Callable[[], float] = lambda: 1000.0, **options: Any
) -> Library:
    """With the header gate in this process: quicker, and the same gate."""
    return Library(data, engine, make_settings(data, **options), clock, gate=admit)


def tiff_bytes(*, seed: int = 0, description: str | None = None) -> bytes:
    """A tiled TIFF of 200 x 130 px of noise."""
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        make_pixels(200, 130, seed=seed),
        tile=(64, 64),
        photometric="rgb",
        metadata=None,
        description=description,
    )
    return file.getvalue()


def upload_at_once(library: Library, body: bytes, count: int = 8) -> list[Stored]:
    """The same bytes in as many threads; none has all of them before all have begun."""
    gate, stored = threading.Barrier(count), []

    def upload() -> None:
        def blocks() -> Iterator[bytes]:
            yield body[:100]
            gate.wait()
            yield body[100:]

        stored.append(library.store(TENANT, blocks()))

    threads = [threading.Thread(target=upload) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return stored


def files_of(data: Path) -> list[str]:
    """Everything in the data folder but the database and the ledger's lock."""
    found = (path.relative_to(data).as_posix() for path in data.rglob("*") if path.is_file())
    return sorted(n for n in found if not n.startswith("wsi.sqlite3") and not n.endswith(".lock"))


def add_job(
    engine: Engine,
    slide_id: str,
    *,
    state: str = "queued",
    result_id: str | None = None,
    finished_at: float | None = None,
    tenant: str = TENANT,
) -> str:
    job_id = new_id("job")
    row = {
        "id": job_id,
        "tenant": tenant,
        "slide_id": slide_id,
        "work_key": job_id,
        "request": {},
        "priority": 0,
        "result_id": result_id or new_id("res"),
        "cached": False,
        "state": state,
        "done": 0,
        "total": 0,
        "attempt": 0,
        "fence": 0,
        "not_before": 0.0,
        "cancel_requested": False,
        "created_at": 1000.0,
        "finished_at": finished_at,
        "updated_at": 1000.0,
    }
    with engine.begin() as connection:
        connection.execute(insert(jobs).values(row))
    return job_id


def add_result(
    data: Path,
    engine: Engine,
    *,
    tenant: str = TENANT,
    size_bytes: int = 4,
    created_at: float = 1000.0,
    job_id: str = "job_x",
    work_key: str | None = None,
    key_id: str | None = None,
) -> str:
    """A row and its folder with a manifest of `size_bytes`."""
    result_id = new_id("res")
    folder = data / "results" / result_id
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_bytes(b"m" * size_bytes)
    row = {
        "id": result_id,
        "tenant": tenant,
        "job_id": job_id,
        "slide_id": "sld_x",
        "work_key": work_key or result_id,
        "size_bytes": size_bytes,
        "manifest_sha256": "0" * 64,
        "created_at": created_at,
        "key_id": key_id,
    }
    with engine.begin() as connection:
        connection.execute(insert(results).values(row))
    return result_id
