"""Recently made answers in memory."""

from service.pictures.bytecache import ByteCache


def test_what_was_asked_for_longest_ago_goes_first() -> None:
    cache = ByteCache(10)
    for key in ("a", "b"):
        cache.put(key, b"1234")
    assert cache.get("a") == b"1234"
    cache.put("c", b"1234")
    assert cache.get("b") is None
    assert cache.get("a") == cache.get("c") == b"1234"
    assert cache.size_bytes == 8


def test_a_new_value_takes_the_place_of_the_old() -> None:
    cache = ByteCache(10)
    cache.put("a", b"12345678")
    cache.put("a", b"12")
    assert cache.get("a") == b"12"
    assert cache.size_bytes == 2


def test_a_value_larger_than_the_cache_drops_nothing() -> None:
    cache = ByteCache(4)
    cache.put("a", b"1234")
    cache.put("b", b"12345")
    assert cache.get("b") is None
    assert cache.get("a") == b"1234"


def test_what_is_lent_is_taken_from_the_limit_and_given_back() -> None:
    cache = ByteCache(10)
    for key in ("a", "b"):
        cache.put(key, b"1234")
    cache.lend(5)
    assert (cache.get("a"), cache.get("b"), cache.size_bytes) == (None, b"1234", 4)
    cache.put("c", b"123456")
    assert cache.get("c") is None
    cache.lend(0)
    cache.put("c", b"123456")
    assert (cache.get("b"), cache.get("c")) == (b"1234", b"123456")
