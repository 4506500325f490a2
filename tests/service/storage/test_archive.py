"""Zips: honest ones become a slide, others are refused and leave nothing."""

import io
import zipfile
from pathlib import Path

import pytest
from sqlalchemy import Engine

from service.errors import ArchiveUnsafe, QuotaExceeded, TooLarge
from service.storage.library import Library
from tests.service.shelving import TENANT, files_of, make_library
from tests.service.zips import (
    DICOM,
    HOSTILE,
    INDEX,
    MRXS,
    REASONS,
    pack,
    quoted_overlap,
    zip64_lie,
)
from wsi.errors import UnsupportedSlide
from wsi.readers import open_slide


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_zip_is_refused_and_leaves_nothing(
    tmp_path: Path, data: Path, library: Library, name: str
):
    with pytest.raises(ArchiveUnsafe) as caught:
        library.store(TENANT, [HOSTILE[name]()])
    assert REASONS.get(name, "a name that no slide has") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    assert files_of(data) == []
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_the_bombs_of_the_tests_are_bombs():
    """zipfile's own reading of them: what an unguarded extraction would do."""
    with zipfile.ZipFile(io.BytesIO(quoted_overlap(100, 1 << 20))) as archive:
        assert len(archive.infolist()) == 100
        assert sum(info.file_size for info in archive.infolist()) > 100 << 20
        assert archive.infolist()[0].compress_size < 3000


def test_an_mrxs_and_its_folder_get_names_of_our_own(data: Path, library: Library):
    """Litter of file managers and documents beside it are left out."""
    files = {f"Case 7/{name.replace('a', 'Jane Doe', 1)}": body for name, body in MRXS.items()}
    beside = {"__MACOSX/Case 7/._x": b"x", "Case 7/.DS_Store": b"x", "Case 7/report.pdf": b"x"}
    body = pack({"Case 7/": b"", **files, **beside})
    slide = library.store(TENANT, [body], media_type="application/zip").slide
    assert (slide.kind, slide.path) == ("archive", data / "slides" / slide.id / "slide.mrxs")
    names = ("slide.mrxs", "slide/Data0000.dat", "slide/Index.dat", "slide/Slidedat.ini")
    assert files_of(data) == [f"slides/{slide.id}/{name}" for name in names]
    assert slide.size_bytes == sum(map(len, MRXS.values()))
    assert (slide.path.parent / "slide" / "Slidedat.ini").read_bytes() == INDEX


@pytest.mark.real_data
def test_a_dicom_series_opens_from_the_folder(real_data: Path, data: Path, library: Library):
    body = (real_data / "slides" / "bone-jpeg.dcm").read_bytes()
    slide = library.store(TENANT, [pack({"Doe^Jane/DICOM/IM0001": body, "DICOMDIR": b"x"})]).slide
    assert files_of(data) == [f"slides/{slide.id}/00001.dcm"]
    assert slide.path == data / "slides" / slide.id
    with open_slide(slide.path) as opened:
        assert opened.info.size == (957, 715)


@pytest.mark.real_data
def test_two_dicom_series_are_refused(real_data: Path, data: Path, library: Library):
    slides = real_data / "slides"
    files = {name: (slides / name).read_bytes() for name in ("bone-jpeg.dcm", "boxes_0.dcm")}
    with pytest.raises(UnsupportedSlide, match="2 DICOM slides"):
        library.store(TENANT, [pack(files)])
    assert files_of(data) == []


def test_files_that_only_look_like_dicom_are_refused_by_the_gate(data: Path, library: Library):
    with pytest.raises(UnsupportedSlide, match="without a DICOM whole-slide image"):
        library.store(TENANT, [pack({"1.dcm": DICOM})])
    assert files_of(data) == []


def test_an_honest_zip64_is_taken(library: Library):
    assert library.store(TENANT, [zip64_lie(32, -1)]).created


def test_the_zip_may_not_unpack_to_more_than_a_slide_may_have(data: Path, engine: Engine):
    """An index of 900,000 zeros in a zip of a few kilobytes."""
    library = make_library(data, engine, max_slide_bytes=500_000)
    with pytest.raises(TooLarge, match="limit is 500000"):
        library.store(TENANT, [pack({**MRXS, "a/Index.dat": bytes(900_000)})])
    assert files_of(data) == []


def test_what_the_zip_unpacks_to_counts_against_the_quota(data: Path, engine: Engine):
    """The zip itself, of a few kilobytes, would have room."""
    library = make_library(data, engine, quota_bytes=500_000)
    with pytest.raises(QuotaExceeded, match="limit is 500000"):
        library.store(TENANT, [pack({**MRXS, "a/Index.dat": bytes(900_000)})])
    assert files_of(data) == []


def test_zip_and_slide_do_not_count_twice_against_the_quota(data: Path, engine: Engine):
    """400,000 bytes that do not pack, and a limit of 600,000."""
    library = make_library(data, engine, quota_bytes=600_000)
    body = pack({**MRXS, "a/Data0000.dat": bytes(400_000)}, method=zipfile.ZIP_STORED)
    assert library.store(TENANT, [body], content_length=len(body)).created


def test_the_same_zip_again_is_the_slide_of_before(data: Path, library: Library):
    first = library.store(TENANT, [pack(MRXS)]).slide
    again = library.store(TENANT, [pack(MRXS)])
    assert (again.slide.id, again.created) == (first.id, False)
    assert len(files_of(data)) == 4
