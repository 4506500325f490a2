"""Slides that stay below a folder that the operator shares."""

import hashlib
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from service.errors import InvalidRequest, NotFound, SlideChanged
from service.storage.library import Library, Stored
from service.storage.pinned import PinnedSlides
from service.storage.retention import collect_garbage
from tests.service.shelving import TENANT, files_of, make_library, make_settings, tiff_bytes
from wsi.identity import files_identity


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "slides"
    (root / "case").mkdir(parents=True)
    (root / "case" / "a.tif").write_bytes(tiff_bytes())
    return root


@pytest.fixture
def shared(data: Path, engine: Engine, root: Path) -> Library:
    return make_library(data, engine, slide_roots=(root,))


def test_a_shared_slide_stays_where_it_is(data: Path, shared: Library, root: Path):
    absolute = shared.add_path(TENANT, str(root / "case" / "a.tif"))
    relative = shared.add_path(TENANT, "case/a.tif")
    assert absolute.slide.path == root / "case" / "a.tif"
    assert absolute.slide.kind == "path"
    assert absolute.slide.sha256 == hashlib.sha256(tiff_bytes()).hexdigest()
    assert relative == Stored(absolute.slide, created=False)
    assert shared.bytes_of(TENANT) == 0
    shared.delete(TENANT, absolute.slide.id)
    assert (root / "case" / "a.tif").exists()
    assert files_of(data) == []


def test_a_shared_slide_that_was_moved_is_found_again_when_it_is_added(shared: Library, root: Path):
    slide = shared.add_path(TENANT, "case/a.tif").slide
    (root / "case" / "a.tif").rename(root / "b.tif")
    again = shared.add_path(TENANT, "b.tif")
    assert (again.slide.id, again.slide.path) == (slide.id, root / "b.tif")
    (root / "b.tif").rename(root / "c.tif")
    (root / "b.tif").write_bytes(tiff_bytes(seed=1))
    assert shared.add_path(TENANT, "c.tif").slide.path == root / "c.tif"
    assert shared.add_path(TENANT, "b.tif").slide.id != slide.id


def test_a_shared_slide_that_is_added_again_is_kept_from_then_on(
    data: Path, engine: Engine, root: Path
):
    now = [1000.0]
    shared = make_library(data, engine, lambda: now[0], slide_roots=(root,))
    slide = shared.add_path(TENANT, "case/a.tif").slide
    now[0] = 1090.0
    assert shared.add_path(TENANT, "case/a.tif") == Stored(slide, created=False)
    settings = make_settings(data, keep_slides_s=60)
    assert collect_garbage(settings, engine, lambda: 1149.0).slides == ()
    assert collect_garbage(settings, engine, lambda: 1151.0).slides == (slide.id,)


def test_of_two_equal_slides_that_are_both_there_the_first_counts(shared: Library, root: Path):
    slide = shared.add_path(TENANT, "case/a.tif").slide
    (root / "b.tif").write_bytes(tiff_bytes())
    assert shared.add_path(TENANT, "b.tif") == Stored(slide, created=False)


def test_the_bytes_of_a_shared_slide_that_is_lost_are_kept_when_they_come_as_a_body(
    data: Path, shared: Library, root: Path
):
    slide = shared.add_path(TENANT, "case/a.tif").slide
    assert shared.store(TENANT, [tiff_bytes()]) == Stored(slide, created=False)
    (root / "case" / "a.tif").unlink()
    ours = shared.store(TENANT, [tiff_bytes()])
    assert (ours.created, ours.slide.kind) == (True, "file")
    assert files_of(data) == [f"slides/{ours.slide.id}/slide.tif"]
    with pytest.raises(NotFound):
        shared.get(TENANT, slide.id)


def test_a_shared_slide_that_changes_while_it_is_hashed_is_read_again_before_it_is_shown(
    data: Path, engine: Engine, root: Path, monkeypatch: pytest.MonkeyPatch
):
    """Other bytes of the same size come after the hash, and before the row."""
    file = root / "case" / "a.tif"
    shared = make_library(data, engine, time.time, slide_roots=(root,))

    def hashed_too_early(*given: Any) -> dict[str, Any]:
        found = files_identity(*given)
        file.write_bytes(bytes(file.stat().st_size))
        time.sleep(0.1)  # far more than a tick of the clock of files
        return found

    monkeypatch.setattr("service.storage.library.files_identity", hashed_too_early)
    slide = shared.add_path(TENANT, "case/a.tif").slide

    with pytest.raises(SlideChanged):
        PinnedSlides().require(slide)


def test_only_what_others_may_change_is_pinned(shared: Library):
    content = tiff_bytes()
    there = shared.add_path(TENANT, "case/a.tif").slide
    ours = shared.store("another", [content]).slide
    sha256 = hashlib.sha256(content).hexdigest()
    assert shared.pinned_sha256(TENANT, there.id) == sha256
    assert shared.pinned_sha256("another", ours.id) is None
    with pytest.raises(NotFound):
        shared.pinned_sha256("another", there.id)


@pytest.mark.parametrize("path", ["../a.tif", "case/../../a.tif", "", "a\0b"])
def test_a_path_with_dots_is_refused(shared: Library, path: str):
    with pytest.raises(InvalidRequest, match=r"a path with \.\. or without a name"):
        shared.add_path(TENANT, path)


def test_a_path_outside_is_as_missing_as_one_that_never_was(
    shared: Library, root: Path, tmp_path: Path
):
    (tmp_path / "secret.tif").write_bytes(tiff_bytes())
    (tmp_path / "slides-too").mkdir()
    (tmp_path / "slides-too" / "b.tif").write_bytes(tiff_bytes())
    (root / "link.tif").symlink_to(tmp_path / "secret.tif")
    (root / "out").symlink_to(tmp_path)
    (root / "loop").symlink_to(root / "loop")
    outside = [tmp_path / "secret.tif", tmp_path / "slides-too" / "b.tif", "/etc/passwd"]
    inside = ["link.tif", "out/secret.tif", "loop", "gone.tif", "x" * 300]
    messages = set()
    for path in (*outside, *inside):
        with pytest.raises(NotFound) as caught:
            shared.add_path(TENANT, str(path))
        messages.add(str(caught.value))
    assert messages == {"no such slide below the folders that this server shares"}


def test_a_part_of_a_slide_that_is_a_link_out_is_refused(
    shared: Library, root: Path, tmp_path: Path
):
    (root / "a.mrxs").write_bytes(b"\xff\xd8\xff")
    (root / "a").mkdir()
    (root / "a" / "Slidedat.ini").write_text("x")
    (tmp_path / "secret").write_text("x")
    (root / "a" / "Data0000.dat").symlink_to(tmp_path / "secret")
    with pytest.raises(NotFound):
        shared.add_path(TENANT, "a.mrxs")
    (root / "a" / "Data0000.dat").unlink()
    assert shared.add_path(TENANT, "a.mrxs").created


def test_a_server_without_roots_says_so(library: Library):
    with pytest.raises(InvalidRequest, match="shares no folder"):
        library.add_path(TENANT, "/etc/passwd")
