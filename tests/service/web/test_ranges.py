"""The Range field."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.web.ranges import parse_range

CONTENT = bytes(range(100))


@given(st.integers(0, 200), st.integers(0, 200))
def test_range_is_what_rfc_9110_says(first: int, last: int) -> None:
    field = f"bytes={first}-{last}"
    if last < first:
        assert parse_range(field, 100) is None
    elif first >= 100:
        with pytest.raises(ValueError, match="100 bytes"):
            parse_range(field, 100)
    else:
        start, stop = parse_range(field, 100) or (0, 0)
        assert CONTENT[start:stop] == bytes(b for b in CONTENT if first <= b <= last)


@given(st.integers(1, 300))
def test_suffix_is_the_end(length: int) -> None:
    start, stop = parse_range(f"bytes=-{length}", 100) or (0, 0)
    assert CONTENT[start:stop] == CONTENT[-length:]


@given(st.text(max_size=30), st.integers(0, 1000))
def test_any_text_is_a_range_or_none_or_not_satisfiable(text: str, size: int) -> None:
    try:
        found = parse_range(text, size)
    except ValueError:
        return
    assert found is None or 0 <= found[0] < found[1] <= size
