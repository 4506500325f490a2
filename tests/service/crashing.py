"""Ends a process by SIGKILL at every point where it touches the data folder, one after another.

`-m tests.service.crashing DATA SCENARIO` prints a JSON line a kill: the point, and what cleaning
at the next start left that has no row, or has a row and no files.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy import Engine, event

from service.database import open_database
from service.storage.retention import clear_orphans
from service.storage.shelf import Shelf
from tests.service.shelving import (
    TENANT,
    add_result,
    files_of,
    make_engine,
    make_library,
    make_settings,
    tiff_bytes,
)
from tests.service.zips import MRXS, pack

WATCHED = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "os.listdir")


class Fuse:
    """Kills the process at the Nth point that it passes."""

    def __init__(self, data: Path, number: int, report: int) -> None:
        self._data, self._left, self._report = str(data), number, report

    def hear(self, name: str, arguments: tuple[object, ...]) -> None:
        if name in WATCHED and self._concerns(arguments):
            self.burn(name)

    def burn(self, point: str) -> None:
        self._left -= 1
        if self._left == 0:
            os.write(self._report, point.encode())
            os.kill(os.getpid(), signal.SIGKILL)

    def _concerns(self, arguments: tuple[object, ...]) -> bool:
        paths = [os.fspath(a) for a in arguments if isinstance(a, str | Path)]
        return any(str(path).startswith(self._data) for path in paths)


def open_watched(data: Path, fuse: Fuse) -> Engine:
    engine = make_engine(data) if not (data / "wsi.sqlite3").exists() else reopen(data)
    event.listen(engine, "commit", lambda _connection: fuse.burn("commit"))
    return engine


def reopen(data: Path) -> Engine:
    return open_database(make_settings(data).database)


def store_file(data: Path, engine: Engine, fuse: Fuse, number: int) -> None:
    body = tiff_bytes(seed=number)

    def blocks() -> Iterator[bytes]:
        for start in range(0, len(body), 50_000):
            yield body[start : start + 50_000]
            fuse.burn("block")

    make_library(data, engine).store(TENANT, blocks())


def store_archive(data: Path, engine: Engine, fuse: Fuse, number: int) -> None:
    body = pack({**MRXS, "a/Data0000.dat": os.urandom(10)})
    make_library(data, engine).store(TENANT, [body])


def delete_slide(data: Path, engine: Engine, fuse: Fuse, number: int) -> None:
    library = make_library(data, engine)
    library.delete(TENANT, library.page(TENANT, limit=1)[0].id)


def delete_result(data: Path, engine: Engine, fuse: Fuse, number: int) -> None:
    shelf = Shelf(data, engine, make_settings(data))
    shelf.delete(TENANT, shelf.page(TENANT, limit=1)[0].id)


def prepare(data: Path, scenario: str, number: int) -> None:
    engine = make_engine(data) if number == 1 else reopen(data)
    library, shelf = make_library(data, engine), Shelf(data, engine, make_settings(data))
    if scenario == "delete_slide" and not library.page(TENANT, limit=1):
        library.store(TENANT, [tiff_bytes(seed=number)])
    if scenario == "delete_result" and not shelf.page(TENANT, limit=1):
        add_result(data, engine)
    engine.dispose()


SCENARIOS: dict[str, Callable[[Path, Engine, Fuse, int], None]] = {
    "store_file": store_file,
    "store_archive": store_archive,
    "delete_slide": delete_slide,
    "delete_result": delete_result,
}


def crash(data: Path, scenario: str, number: int) -> str | None:
    """The point at which the child ended; None where it came through."""
    pipe, report = os.pipe()
    child = os.fork()
    if child == 0:
        fuse = Fuse(data, number, report)
        engine = open_watched(data, fuse)
        sys.addaudithook(fuse.hear)
        SCENARIOS[scenario](data, engine, fuse, number)
        os._exit(0)
    os.close(report)
    _, status = os.waitpid(child, 0)
    with os.fdopen(pipe, "rb") as file:
        point = file.read().decode()
    if status not in (0, signal.SIGKILL):
        raise SystemExit(f"the child ended by {status}")
    return point or None


def look(data: Path) -> tuple[int, list[str], list[str]]:
    """After cleaning: files that no row owns, and rows without all their files."""
    engine = reopen(data)
    cleared = len(clear_orphans(make_settings(data), engine).orphans)
    slides = make_library(data, engine).page(TENANT, limit=200)
    results = Shelf(data, engine, make_settings(data)).page(TENANT, limit=200)
    engine.dispose()
    owned = {f"slides/{slide.id}" for slide in slides} | {f"results/{r.id}" for r in results}
    loose = [name for name in files_of(data) if "/".join(name.split("/")[:2]) not in owned]
    damaged = [one.id for one in results if sizes_below(one.folder) != one.size_bytes]
    damaged += [
        slide.id for slide in slides if sizes_below(data / "slides" / slide.id) != slide.size_bytes
    ]
    return cleared, loose, damaged


def sizes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    data, scenario = Path(sys.argv[1]), sys.argv[2]
    data.mkdir(parents=True)
    number, point = 0, ""
    while point is not None:
        number += 1
        prepare(data, scenario, number)
        point = crash(data, scenario, number)
        cleared, loose, damaged = look(data)
        found = {"point": point, "cleared": cleared, "loose": loose, "damaged": damaged}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
