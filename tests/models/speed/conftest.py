from pathlib import Path

import pytest

from tests.models.small_models import write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network's card."""
    return write_model(tmp_path_factory.mktemp("model"))
