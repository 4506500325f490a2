"""Headers are read in a process with limits: a bomb in one costs the service nothing."""

import struct
from pathlib import Path

import pytest

from service.errors import Busy
from service.storage.gatekeeper import GATE_MEMORY_BYTES, admit, admit_apart
from tests.service.shelving import tiff_bytes
from wsi.errors import CorruptSlide, UnsupportedSlide

EXPLICIT = b"1.2.840.10008.1.2.1\0"


def write_swollen_dicom(path: Path, size_bytes: int) -> Path:
    """Its image type, a word in honest files, claims so many bytes; the file has them, as a hole
    that takes no room on the disk."""
    syntax = struct.pack("<HH2sH", 2, 0x10, b"UI", len(EXPLICIT)) + EXPLICIT
    length = struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(syntax))
    image_type = struct.pack("<HH2sHL", 8, 8, b"UN", 0, size_bytes)
    path.write_bytes(bytes(128) + b"DICM" + length + syntax + image_type)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + size_bytes)
    return path


def test_a_header_larger_than_the_limit_is_refused(tmp_path: Path):
    path = write_swollen_dicom(tmp_path / "slide", 2 * GATE_MEMORY_BYTES)
    with pytest.raises(CorruptSlide, match="the slide: damaged DICOM header"):
        admit_apart(path)


def test_the_process_apart_says_what_the_gate_says(tmp_path: Path):
    whole, broken = tmp_path / "a" / "slide", tmp_path / "b" / "slide"
    for path, body in ((whole, tiff_bytes()), (broken, b"\0" * 100)):
        path.parent.mkdir()
        path.write_bytes(body)
    assert admit_apart(whole) == admit(whole)
    assert admit(whole).files == (str(whole),)
    said = []
    for look in (admit, admit_apart):
        with pytest.raises(UnsupportedSlide) as caught:
            look(broken)
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert str(tmp_path) not in said[0]


def test_a_process_that_dies_over_a_header_is_a_corrupt_slide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(CorruptSlide, match="ended the process"):
        admit_apart(tmp_path)


def test_a_header_that_takes_long_is_read_no_further_when_the_service_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    slow, pid = tmp_path / "slow", tmp_path / "pid"
    slow.write_text(f"#!/bin/sh\necho $$ > {pid}\nexec sleep 600\n")
    slow.chmod(0o700)
    monkeypatch.setattr("sys.executable", str(slow))
    with pytest.raises(Busy, match="being shut down"):
        admit_apart(tmp_path / "slide", should_stop=pid.exists)
    assert not Path("/proc", pid.read_text().strip()).exists()
