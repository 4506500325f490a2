"""A full disk is NoSpace, leaves nothing, and is forgotten once there is room."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from service.errors import NoSpace
from service.storage.library import Library
from tests.service.shelving import TENANT, files_of, make_engine, make_library, tiff_bytes
from tests.service.small_disk import Filler, small_disk
from tests.service.zips import MRXS, pack

MIB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 8 * MIB) as disk:
        yield disk


@pytest.fixture
def filler(disk: Path) -> Filler:
    return Filler(disk)


@pytest.fixture
def engine(disk: Path) -> Iterator[Engine]:
    engine = make_engine(disk / "data")
    yield engine
    engine.dispose()


@pytest.fixture
def library(disk: Path, engine: Engine) -> Library:
    return make_library(disk / "data", engine)


def test_a_body_larger_than_the_disk_is_refused_before_its_first_byte(disk: Path, library: Library):
    def untouched() -> Iterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    with pytest.raises(NoSpace, match=f"{9 * MIB} bytes are needed"):
        library.store(TENANT, untouched(), content_length=9 * MIB)
    assert files_of(disk / "data") == []


def test_a_body_of_unknown_length_stops_where_the_disk_ends(disk: Path, library: Library):
    with pytest.raises(NoSpace):
        library.store(TENANT, (b"x" * MIB for _ in range(9)))
    assert files_of(disk / "data") == []
    assert library.store(TENANT, [tiff_bytes()]).created


def test_a_disk_that_others_fill_in_the_middle_of_a_body_is_no_space(
    disk: Path, library: Library, filler: Filler
):
    def blocks() -> Iterator[bytes]:
        yield b"x" * MIB
        filler.take_all()
        yield b"x" * MIB

    with pytest.raises(NoSpace):
        library.store(TENANT, blocks(), content_length=2 * MIB)
    filler.give_back()
    assert files_of(disk / "data") == []
    assert library.store(TENANT, [tiff_bytes()]).created


def test_a_disk_that_is_full_once_the_body_is_there_is_no_space(
    disk: Path, library: Library, filler: Filler
):
    """No room for the slide's folder, its files or its row."""
    known = library.store(TENANT, [tiff_bytes(seed=1)]).slide
    for body in (tiff_bytes(), pack({**MRXS, "a/Index.dat": bytes(900_000)})):
        upload = library.begin(TENANT, None, len(body), None)
        upload.write(body)
        filler.take_all()
        with pytest.raises(NoSpace):
            library.settle(TENANT, upload)
        assert library.get(TENANT, known.id).path.read_bytes() == tiff_bytes(seed=1)
        filler.give_back()
        assert files_of(disk / "data") == [f"slides/{known.id}/slide.tif"]
        assert library.store(TENANT, [body]).created
        library.delete(TENANT, library.page(TENANT, limit=1)[0].id)


def test_a_disk_without_room_for_a_reservation_is_no_space(
    disk: Path, library: Library, filler: Filler
):
    filler.take_all()
    with pytest.raises(NoSpace):
        library.begin(TENANT, None, None, None)
    filler.give_back()
    library.begin(TENANT, None, None, None).abort()
