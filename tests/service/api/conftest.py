"""One workshop a session, one application a test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.api.harness import Api, Workshop, make_workshop


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return make_workshop(tmp_path_factory.mktemp("workshop"))


@pytest.fixture
def api(workshop: Workshop, tmp_path: Path) -> Iterator[Api]:
    with Api(workshop, tmp_path / "data") as api:
        yield api
