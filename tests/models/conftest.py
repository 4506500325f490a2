"""What tests of training share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.models.training_runs import registered, write_data


@pytest.fixture(scope="module")
def architectures() -> Iterator[None]:
    """The small networks that only tests have."""
    with registered():
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled tiles, for tests that do not change them."""
    return write_data(tmp_path_factory.mktemp("labelled"))
