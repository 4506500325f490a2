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
    each_on_cores(done.append, range(7))
    assert sorted(done) == [0, 1, 2, 3, 4, 5, 6]
    with pytest.raises(ZeroDivisionError):
        each_on_cores(lambda item: 1 // item, [2, 0])


def test_items_are_worked_on_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsi.cores.usable_cores", lambda: 2)
    both = threading.Barrier(2)
    each_on_cores(lambda _: both.wait(60), [0, 1])


def test_items_may_themselves_be_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsi.cores.usable_cores", lambda: 4)
    done: list[int] = []
    each_on_cores(lambda _: each_on_cores(done.append, range(5)), range(20))
    assert sorted(done) == sorted([*range(5)] * 20)


def test_after_an_error_no_other_item_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsi.cores.usable_cores", lambda: 2)
    begun: list[int] = []

    def fail(item: int) -> None:
        begun.append(item)
        raise OSError(f"item {item}")

    with pytest.raises(OSError, match="item"):
        each_on_cores(fail, range(1000))
    assert len(begun) <= 2  # one a thread


def test_a_forked_process_has_threads_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsi.cores.usable_cores", lambda: 2)
    both = threading.Barrier(2)
    each_on_cores(lambda _: both.wait(60), [0, 1])
    child = os.fork()
    if child == 0:
        again = threading.Barrier(2)
        try:
            each_on_cores(lambda _: again.wait(10), [0, 1])
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
