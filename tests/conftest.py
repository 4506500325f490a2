"""What all tests share: the folder of real slides."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

# a slow machine is no failure
settings.register_profile("project", deadline=None)
settings.load_profile("project")

# a shell starts what it puts into the background without Ctrl-C, and programs inherit that
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real tissue, slides and broken files; tests skip where it is absent."""
    folder = Path(os.environ.get("WSI_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "README.md").is_file():
        pytest.skip(f"no real data at {folder}; set WSI_TEST_DATA to its folder")
    return folder
