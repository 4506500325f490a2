import gc
import subprocess
import sys

import pytest

from wsi.heap import collector_paused

FREED = """
from wsi.heap import give_back_memory

def resident_mib():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 >> 20

kept = [bytearray(64 << 10) for _ in range(4000)]
del kept[::2], kept[:-1:2]  # the last one keeps the heap from shrinking by itself
before = resident_mib()
give_back_memory()
print(before - resident_mib())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_memory_that_was_freed_goes_back_to_the_system() -> None:
    given_back_mib = subprocess.check_output([sys.executable, "-c", FREED], text=True)
    assert int(given_back_mib) > 150


@pytest.mark.parametrize("is_on", [True, False])
def test_the_collector_pauses_and_is_then_as_it_was(is_on: bool) -> None:
    found: list[bool] = []

    @collector_paused()
    def fail() -> None:
        found.append(gc.isenabled())
        raise KeyError

    (gc.enable if is_on else gc.disable)()
    try:
        with pytest.raises(KeyError):
            fail()
        assert found == [False]
        assert gc.isenabled() == is_on
    finally:
        gc.enable()
