"""What all tests share: the folder of real slides."""

import os
import signal
import sys
from collections.abc import Iterator
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


@pytest.fixture(autouse=True)
def threads_of_torch() -> Iterator[None]:
    """As many after a test as before: a tuned network sets them, and they change last bits."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else None
    yield
    if torch and torch.get_num_threads() != before:
        torch.set_num_threads(before)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real tissue, slides and broken files; tests skip where it is absent."""
    folder = Path(os.environ.get("WSI_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "README.md").is_file():
        pytest.skip(f"no real data at {folder}; set WSI_TEST_DATA to its folder")
    return folder
