"""Slides that stay in their place are shown as they were added, or not at all."""

import os
import time
from pathlib import Path

import pytest

from service.errors import Busy, SlideChanged
from service.storage.library import StoredSlide
from service.storage.pinned import STANDS_S, PinnedSlides, require_unchanged
from service.storage.stamps import Stamp
from tests.service.api.harness import at_once
from tests.service.shelving import tiff_bytes


class Reader:
    """Counts how often a slide is read whole, and finds in it what it is told."""

    def __init__(self, *, is_same: bool) -> None:
        self.count, self.is_same = 0, is_same

    def __call__(self, path: Path, sha256: str) -> None:
        self.count += 1
        if not self.is_same:
            raise SlideChanged("another")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def make_slide(path: Path, *, added_s_ago: float = -10.0, kind: str = "path") -> StoredSlide:
    """Of four bytes; by default nobody can have touched it since it was added."""
    path.write_bytes(b"1234")
    created_at = time.time() - added_s_ago
    return StoredSlide("sld_1", "t1", "0" * 64, 4, kind, path, None, created_at)


def is_shown(pinned: PinnedSlides, slide: StoredSlide) -> bool:
    try:
        pinned.require(slide)
    except SlideChanged:
        return False
    return True


def test_an_untouched_slide_and_one_of_our_own_are_not_read(tmp_path: Path):
    reader = Reader(is_same=False)
    pinned = PinnedSlides(reader)
    pinned.require(make_slide(tmp_path / "a.tif"))
    pinned.require(make_slide(tmp_path / "b.tif", added_s_ago=100, kind="file"))
    assert reader.count == 0


def test_a_slide_that_came_in_the_tick_in_which_it_was_written_is_read_once(tmp_path: Path):
    """A write after the hash, in the same tick, leaves the file the same time."""
    file = tmp_path / "a.tif"
    file.write_bytes(b"1234")
    written_at = max(file.stat().st_mtime_ns, file.stat().st_ctime_ns) / 1e9
    assert not Stamp.of(file).is_of(4, written_at + 0.009)
    assert Stamp.of(file).is_of(4, written_at + 0.021)


def test_another_file_of_the_same_size_and_an_older_time_is_noticed(tmp_path: Path):
    """As `cp -p` and `mv` leave it."""
    slide = make_slide(tmp_path / "a.tif", added_s_ago=5)
    other = tmp_path / "b.tif"
    other.write_bytes(b"5678")
    os.utime(other, (1000, 1000))
    other.rename(slide.path)
    reader = Reader(is_same=False)
    assert not is_shown(PinnedSlides(reader), slide)
    assert reader.count == 1


@pytest.mark.parametrize("is_same", [True, False])
def test_a_touched_slide_is_read_once_however_many_ask(tmp_path: Path, is_same: bool):
    reader = Reader(is_same=is_same)
    slide, pinned = make_slide(tmp_path / "a.tif", added_s_ago=100), PinnedSlides(reader)
    shown = at_once([lambda: is_shown(pinned, slide)] * 8)
    assert (shown, reader.count) == ([is_same] * 8, 1)
    slide.path.write_bytes(b"another size")
    is_shown(pinned, slide)
    assert reader.count == 2


def test_that_a_slide_has_changed_stands_for_a_while_only(tmp_path: Path):
    """What kept it from being read may be over."""
    reader, clock = Reader(is_same=False), Clock()
    slide = make_slide(tmp_path / "a.tif", added_s_ago=100)
    pinned = PinnedSlides(reader, clock)
    assert not is_shown(pinned, slide)
    reader.is_same, clock.now = True, STANDS_S - 1
    assert not is_shown(pinned, slide)
    clock.now = STANDS_S
    assert is_shown(pinned, slide)


def test_a_slide_that_is_gone_has_changed(tmp_path: Path):
    slide = make_slide(tmp_path / "a.tif")
    slide.path.unlink()
    with pytest.raises(SlideChanged):
        PinnedSlides().require(slide)


def test_a_slide_is_read_no_further_when_the_service_ends(tmp_path: Path):
    """It is not found changed: nobody knows."""
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_bytes())
    with pytest.raises(Busy, match="being shut down"):
        require_unchanged(path, "0" * 64, should_stop=lambda: True)
