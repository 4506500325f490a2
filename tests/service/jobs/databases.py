"""Databases with tables, quickly."""

import atexit
import shutil
import sqlite3
import tempfile
from functools import cache
from pathlib import Path

from sqlalchemy import Engine, event, insert

from service.database import open_database, slides, upgrade

__all__ = ["add_slide", "fresh_sqlite"]


def fresh_sqlite(path: Path) -> Engine:
    """An empty database of its own at `path`, whose commits do not wait for the disk."""
    shutil.copyfile(_template(), path)
    engine = open_database(f"sqlite:///{path}")
    event.listen(engine, "connect", _do_not_wait)
    return engine


def add_slide(engine: Engine, slide_id: str = "sld_1", tenant: str = "ann") -> None:
    """The row of a slide, by default of the one that jobs of tests are about."""
    row = {
        "id": slide_id,
        "tenant": tenant,
        "sha256": slide_id,
        "size_bytes": 1,
        "kind": "file",
        "place": f"slides/{slide_id}/slide.tiff",
        "created_at": 1000.0,
    }
    with engine.begin() as connection:
        connection.execute(insert(slides).values(row))


@cache
def _template() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="wsi-sqlite-"))
    atexit.register(shutil.rmtree, folder)
    path = folder / "template.sqlite3"
    engine = open_database(f"sqlite:///{path}")
    upgrade(engine)
    engine.dispose()  # the last connection puts the log into the file
    return path


def _do_not_wait(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA synchronous=OFF")
