"""A workshop for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.worker.workshop import Workshop, make_workshop


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    made = make_workshop(tmp_path, sandbox="off")
    yield made
    made.close()
