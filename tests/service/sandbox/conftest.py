"""A slide, and reader processes that do harm."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.sandbox.launcher import Launcher
from tests.service.sandbox.readers import REPOSITORY
from tests.wsi.readers.tiffs import write_pyramid


@pytest.fixture(scope="module")
def hostile() -> Iterator[Launcher]:
    launcher = Launcher("tests.service.hostile:run", [REPOSITORY])
    yield launcher
    launcher.close()


@pytest.fixture
def tiff(tmp_path: Path) -> Path:
    write_pyramid(tmp_path / "a.tiff", [(403, 301), (201, 150), (100, 75)])
    return tmp_path / "a.tiff"
