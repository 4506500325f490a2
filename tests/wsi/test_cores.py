"""How many processors this process may use."""

import os

import pytest

from wsi.cores import usable_cores


def test_a_process_that_is_bound_uses_no_more() -> None:
    bound = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(bound)})
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, bound)


def test_a_system_that_binds_nothing_tells_its_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cores() == os.cpu_count()
