"""How many processors this process may use, and work spread over them."""

import os
import threading

import pytest

from wsi.cores import each_on_cores, usable_cores


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


@pytest.mark.parametrize("cores", [1, 3])
def test_each_item_is_worked_on_once_and_an_error_is_raised(
    monkeypatch: pytest.MonkeyPatch, cores: int
) -> None:
    monkeypatch.setattr("wsi.cores.usable_cores", lambda: cores)
    done: list[int] = []
    each_on_cores(done.append, range(7), "test")
    assert sorted(done) == [0, 1, 2, 3, 4, 5, 6]
    with pytest.raises(ZeroDivisionError):
        each_on_cores(lambda item: 1 // item, [2, 0], "test")


def test_items_are_worked_on_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsi.cores.usable_cores", lambda: 2)
    both = threading.Barrier(2)
    each_on_cores(lambda _: both.wait(60), [0, 1], "test")
