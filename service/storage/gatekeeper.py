"""What an upload is, by its content: refused here, or let in with the extension that fits.

Libraries written in Python read the headers, and a hostile header can still cost them any amount
of memory or time. So they run in a short-lived process with limits, which also has no secrets.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import wsi.errors
from service.errors import Busy
from wsi.errors import CorruptSlide, SlideNotFound, SlideTooLarge, UnsupportedSlide, WsiError

if TYPE_CHECKING:
    from wsi.readers.gate import Source

__all__ = ["SHUT_DOWN", "Admitted", "admit", "admit_apart", "is_archive", "require_slide_like"]

SHUT_DOWN = "the service is being shut down; send the slide again in a minute"

GATE_MEMORY_BYTES = 512 << 20  # of addresses; NumPy and pydicom take 137 MiB of them
GATE_TIMEOUT_S = 30
LOOK_S = 0.5  # how often a process that takes long is asked whether it should stop
HEAD_BYTES = 1024

START = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "import service.storage.gatekeeper; service.storage.gatekeeper.answer(sys.argv[2])"
)

LOOK_ALIKES = (
    (b"%PDF-", "a PDF document"),
    (b"\x1f\x8b", "a gzip file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\0", "an xz file"),
    (b"GIF8", "a GIF picture"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
)
WEB_PAGE = (b"<!doctype html", b"<html")
WANTED = "send a slide (SVS, NDPI, SCN, BIF, TIFF, DICOM, CZI, PNG, JPEG, or MRXS in a zip)"

SUFFIXES = {"png": ".png", "jpeg": ".jpg", "bmp": ".bmp", "czi": ".czi", "dicom": ".dcm"}
VENDORS = (
    ("Aperio", ".svs"),
    ("<ScanResult", ".bif"),
    ("leica-microsystems.com/scn", ".scn"),
)
"""What the descriptions of TIFFs of these vendors hold; other TIFFs are .tif."""


@dataclass(frozen=True)
class Admitted:
    """A slide that passed the header gate."""

    kind: str  # of wsi.readers.gate
    suffix: str  # that the format's programs expect; empty for a folder
    files: tuple[str, ...]  # absolute


def is_archive(head: bytes) -> bool:
    return head.startswith((b"PK\3\4", b"PK\5\6", b"PK\7\x08"))


def require_slide_like(head: bytes) -> None:
    """Refuses by the first bytes what is certainly no slide. Raises UnsupportedSlide."""
    if not head:
        raise UnsupportedSlide(f"the body is empty; {WANTED}")
    if head.lstrip()[:64].lower().startswith(WEB_PAGE):
        raise UnsupportedSlide(f"a web page, perhaps a log-in page, and no slide; {WANTED}")
    for magic, what in LOOK_ALIKES:
        if head.startswith(magic):
            raise UnsupportedSlide(f"{what}, and no slide; {WANTED}")
    if _is_text(head) and b"Virtual Microscope Specimen]" in head:
        raise UnsupportedSlide(
            "a VMS or VMU index without the files that it names; convert the slide to a TIFF, or "
            "ask the operator to share its folder"
        )
    if _is_text(head):
        raise UnsupportedSlide(f"a text file, and no slide; {WANTED}")


def admit(path: Path) -> Admitted:
    """Runs the header gate here. Raises WsiError; no message holds the path.

    A slide is alone in its folder, so a file that is missing beside it is the slide's fault.
    """
    from wsi.readers.gate import check_header

    try:
        source = check_header(str(path))
    except SlideNotFound as error:
        raise UnsupportedSlide(_nameless(error, path)) from error
    except WsiError as error:
        raise type(error)(_nameless(error, path)) from error
    except MemoryError as error:
        raise SlideTooLarge("the slide's header is larger than any slide's") from error
    except RecursionError as error:
        raise CorruptSlide("the slide's header refers to itself without end") from error
    return Admitted(source.kind, _suffix(source), tuple(str(file) for file in source.files))


def admit_apart(path: Path, should_stop: Callable[[], bool] = lambda: False) -> Admitted:
    """admit() in a process of its own, with limits on memory and time. Raises WsiError; Busy once
    should_stop() is True."""
    command = [sys.executable, "-I", "-c", START, json.dumps(sys.path), str(path)]
    try:
        with subprocess.Popen(
            command,
            env={"OPENBLAS_NUM_THREADS": "1", "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            said = json.loads(_said(process, should_stop))
    except subprocess.TimeoutExpired as error:
        raise CorruptSlide(f"its header could not be read in {GATE_TIMEOUT_S} s") from error
    except ValueError as error:
        raise CorruptSlide("reading its header ended the process that did it") from error
    if "error" in said:
        raise getattr(wsi.errors, said["error"])(said["message"])
    return Admitted(said["kind"], said["suffix"], tuple(said["files"]))


def answer(path: str) -> None:
    """What the short-lived process does: admits, and writes JSON to stdout."""
    resource.setrlimit(resource.RLIMIT_AS, (GATE_MEMORY_BYTES, GATE_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (GATE_TIMEOUT_S, GATE_TIMEOUT_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    os.nice(5)
    said: dict[str, Any]
    try:
        found = admit(Path(path))
        said = {"kind": found.kind, "suffix": found.suffix, "files": found.files}
    except WsiError as error:
        said = {"error": type(error).__name__, "message": str(error)}
    os.write(1, json.dumps(said).encode())


def _said(process: "subprocess.Popen[bytes]", should_stop: Callable[[], bool]) -> bytes:
    """All that it writes. Raises TimeoutExpired, Busy; it has ended, however this ends."""
    until = time.monotonic() + GATE_TIMEOUT_S
    try:
        while True:
            try:
                return process.communicate(timeout=LOOK_S)[0]
            except subprocess.TimeoutExpired:
                if time.monotonic() >= until:
                    raise
            if should_stop():
                raise Busy(SHUT_DOWN)
    finally:
        process.kill()


def _suffix(source: "Source") -> str:
    if source.tiff is None:
        return SUFFIXES.get(source.kind, "")
    if source.tiff.is_ndpi:
        return ".ndpi"
    texts = [ifd.description for ifd in source.tiff.ifds]
    return next((suffix for mark, suffix in VENDORS if any(mark in t for t in texts)), ".tif")


def _nameless(error: WsiError, path: Path) -> str:
    """The message without where the server keeps the slide."""
    told = str(error)
    for place in (str(path), str(path.parent)):
        told = told.replace(place, "the slide")
    return told


def _is_text(head: bytes) -> bool:
    """Printable ASCII or UTF-8 from the first byte on; no slide's format starts so."""
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # the end may cut a character
            return False
        text = head[: error.start].decode("utf-8")
    return all(letter.isprintable() or letter in "\t\r\n\f\ufeff" for letter in text)
