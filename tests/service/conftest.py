"""What tests of the command line share."""

from pathlib import Path

import numpy as np
import pytest

from tests.service.painted import paint, write_model, write_slide


@pytest.fixture
def painted(tmp_path: Path) -> Path:
    """4 x 6 tiles of 16 px at 0.5 um/px, red 0 to 230 in steps of 10."""
    values = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)
    return write_slide(tmp_path / "painted.tiff", [paint(values, 16, 96, 64)], 0.5)


@pytest.fixture
def model(tmp_path: Path) -> str:
    """The name of one for `painted`."""
    return write_model(tmp_path / "model", 16, 0.5)
