"""R7, archives: each is refused, soon, and nothing is written outside."""

import time
from pathlib import Path

import pytest

from service.errors import ArchiveUnsafe
from service.storage.library import Library
from tests.reliability.report import report
from tests.service.shelving import TENANT, files_of, make_engine, make_settings
from tests.service.zips import HOSTILE

pytestmark = [pytest.mark.slow, pytest.mark.reliability]


def test_every_evil_archive_is_refused(tmp_path: Path):
    engine = make_engine(tmp_path / "data")
    library = Library(tmp_path / "data", engine, make_settings(tmp_path / "data"))
    taken, slowest = [], 0.0
    for name, build in HOSTILE.items():
        body = build()
        began = time.perf_counter()
        try:
            library.store(TENANT, [body])
            taken.append(name)
        except ArchiveUnsafe:
            slowest = max(slowest, time.perf_counter() - began)
        if files_of(tmp_path / "data") or len(list(tmp_path.iterdir())) != 1:
            taken.append(f"{name}: left files")
    engine.dispose()
    report("R7-archives", len(HOSTILE), len(taken), slowest_s=round(slowest, 3), slowest_s_bar=1.0)
    assert taken == []
