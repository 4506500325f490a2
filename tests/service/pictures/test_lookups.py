"""What was allowed a moment ago."""

from service.pictures.lookups import Lookups


def test_what_was_found_is_known_for_a_while() -> None:
    now = 0.0
    lookups = Lookups[str](2.0, lambda: now)
    assert lookups.get("a") is None
    lookups.put("a", "x")
    now = 1.9
    assert lookups.get("a") == "x"
    now = 2.0
    assert lookups.get("a") is None


def test_nothing_is_known_after_a_deletion() -> None:
    lookups = Lookups[str](2.0, lambda: 0.0)
    lookups.put("a", "x")
    lookups.clear()
    assert lookups.get("a") is None


def test_it_never_grows_without_end() -> None:
    lookups = Lookups[int](2.0, lambda: 0.0, most=3)
    for i in range(100):
        lookups.put(i, i)
    assert sum(lookups.get(i) is not None for i in range(100)) <= 3


def test_what_is_over_is_not_held_in_memory() -> None:
    now = 0.0
    lookups = Lookups[str](2.0, lambda: now)
    for at, key in ((0.0, "a"), (1.0, "b"), (1.5, "a"), (3.2, "c")):
        now = at
        lookups.put(key, "x")
    assert (lookups.get("a"), lookups.get("b"), lookups.get("c")) == ("x", None, "x")
    assert len(lookups) == 2
