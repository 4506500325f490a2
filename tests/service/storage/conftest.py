"""A data folder, its database and its library; a file's own fixtures of these names go before."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from service.storage.library import Library
from tests.service.shelving import make_engine, make_library


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def engine(data: Path) -> Iterator[Engine]:
    engine = make_engine(data)
    yield engine
    engine.dispose()


@pytest.fixture
def library(data: Path, engine: Engine) -> Iterator[Library]:
    library = make_library(data, engine)
    yield library
    library.close()
