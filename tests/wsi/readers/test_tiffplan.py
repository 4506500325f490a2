"""Which reads of a file hold which tiles."""

from hypothesis import given
from hypothesis import strategies as st

from wsi.readers.tiffplan import MAX_GAP_BYTES, MAX_RUN_BYTES, Run, Span, plan_runs

spans = st.builds(Span, st.integers(0, 1 << 24), st.integers(1, 1 << 16))


def test_tiles_that_lie_side_by_side_are_one_read():
    assert plan_runs([Span(300, 50), Span(100, 100), Span(200, 100)]) == [Run(100, 250, (1, 2, 0))]


def test_tiles_that_lie_far_apart_are_read_alone():
    far = 100 + 50 + MAX_GAP_BYTES + 1
    assert plan_runs([Span(100, 50), Span(far, 7)]) == [Run(100, 50, (0,)), Run(far, 7, (1,))]


def test_one_read_has_a_limit_that_only_a_single_tile_passes():
    half = MAX_RUN_BYTES // 2
    runs = plan_runs([Span(0, half), Span(half, half), Span(2 * half, 3 * half)])
    assert [run.parts for run in runs] == [(0, 1), (2,)]


def test_no_tile_is_no_read():
    assert plan_runs([]) == []


@given(st.lists(spans, max_size=30))
def test_each_tile_is_in_exactly_one_read_that_holds_all_of_it(tiles: list[Span]):
    runs = plan_runs(tiles)
    assert sorted(part for run in runs for part in run.parts) == list(range(len(tiles)))
    for run in runs:
        for part in run.parts:
            assert run.offset <= tiles[part].offset
            assert tiles[part].offset + tiles[part].size_bytes <= run.offset + run.size_bytes
