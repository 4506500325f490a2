"""Full queues on real databases, whose commits wait for the disk."""

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Engine, insert

from service.database import jobs, open_database, upgrade
from service.ids import new_id
from tests.service.postgresql import cluster, fresh_database

__all__ = ["DATABASES", "fill"]

DATABASES: dict[str, Callable[[Path], str]] = {
    "sqlite": lambda folder: f"sqlite:///{folder / 'wsi.sqlite3'}",
    "postgresql": lambda folder: fresh_database(cluster(), durable=True),
}
"""URL of a new database, whose SQLite file is in a folder."""


def fill(url: str, number: int) -> list[str]:
    """Ids of so many queued jobs, put into a new database at once."""
    engine = open_database(url)
    upgrade(engine)
    rows = [queued(index) for index in range(number)]
    with engine.begin() as connection:
        connection.execute(insert(jobs), rows)
    _take_statistics(engine)
    engine.dispose()
    return [str(row["id"]) for row in rows]


def queued(index: int) -> dict[str, object]:
    zeros = ("priority", "done", "total", "attempt", "fence", "not_before")
    return {
        "id": new_id("job", 1.8e9 + index),
        "tenant": "ann",
        "slide_id": "sld_1",
        "work_key": f"work-{index}",
        "request": {},
        "result_id": f"res_{index}",
        "cached": False,
        "state": "queued",
        "cancel_requested": False,
        "created_at": 1.8e9,
        "updated_at": 1.8e9,
        **dict.fromkeys(zeros, 0),
    }


def _take_statistics(engine: Engine) -> None:
    """As PostgreSQL does by itself once a table has grown; it would come in the middle here."""
    if engine.dialect.name == "postgresql":
        with engine.begin() as connection:
            connection.exec_driver_sql("ANALYZE jobs")
