"""A slide of several files in one zip: MRXS with its folder, or a DICOM series.

Sizes are counted while files are written, and every file gets a name of our own, except those that
the index of an MRXS names.
"""

import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple, Self
from zipfile import ZipInfo

from service.errors import ArchiveUnsafe, TooLarge
from service.storage.reservation import space_watched
from service.storage.zipcheck import LITTER, open_checked

__all__ = ["SlideArchive"]

BLOCK_BYTES = 1 << 20
MAX_INDEX_BYTES = 4 << 20  # of Slidedat.ini, a text of some 100 KB
HEAD_BYTES = 132  # where DICOM has said what it is

BESIDE = (".txt", ".csv", ".xml", ".json", ".md", ".html", ".pdf")
"""Documents beside a slide: passed over, never written."""

INDEX = "Slidedat.ini"
PART_OF_MRXS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")
NAMED_BY_INDEX = re.compile(rb"^\s*(?:INDEXFILE|FILE_\d+)[ \t]*=[ \t]*(.*?)\s*$", re.MULTILINE)
PACKED = (b"PK\3\4", b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
DAMAGES = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)
WANTED = "send an MRXS file with its folder, or one DICOM series; other slides without a zip"


class Member(NamedTuple):
    info: ZipInfo
    place: str  # POSIX, below the slide's folder


class SlideArchive:
    """The one slide of a zip. A context manager; the stream stays the caller's."""

    def __init__(self, stream: BinaryIO) -> None:
        """Writes nothing. Raises ArchiveUnsafe."""
        self._zip = open_checked(stream)
        files = [info for info in self._zip.infolist() if _may_be_slide(info)]
        indices = [info for info in files if info.filename.lower().endswith(".mrxs")]
        if indices:
            self._members = _mrxs_members(indices, files)
        else:
            self._members = self._dicom_members(files)
        self.entry = "slide.mrxs" if indices else ""
        """What to open, below the slide's folder; empty: that folder."""

    @property
    def stated_bytes(self) -> int:
        """What it says it unpacks to. extract() holds each file to it."""
        return sum(member.info.file_size for member in self._members)

    def extract(self, folder: Path, on_bytes: Callable[[int], None]) -> int:
        """Writes the slide's files below an empty folder; returns their bytes.

        `on_bytes` hears of every block. Raises ArchiveUnsafe, NoSpace; what was written is left
        to the caller, whose folder it is.
        """
        if self.entry:
            (folder / PurePosixPath(self.entry).stem).mkdir(mode=0o700)
        written = sum(self._extract(member, folder / member.place, on_bytes) for member in self)
        if self.entry:
            _require_index(folder / PurePosixPath(self.entry).stem)
        return written

    def require_at_most(self, limit_bytes: int) -> None:
        """Raises TooLarge."""
        if self.stated_bytes > limit_bytes:
            raise TooLarge(
                f"the zip unpacks to {self.stated_bytes} bytes; the limit is {limit_bytes}"
            )

    def close(self) -> None:
        self._zip.close()

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _extract(self, member: Member, path: Path, on_bytes: Callable[[int], None]) -> int:
        """A file that exists is never opened, and no link is followed."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        count = 0
        with space_watched(), os.fdopen(os.open(path, flags, 0o600), "wb") as file:
            for block in self._blocks(member.info):
                if not count and block.startswith(PACKED):
                    raise ArchiveUnsafe("the zip is refused: it holds another archive")
                file.write(block)
                count += len(block)
                on_bytes(len(block))
        if count != member.info.file_size:
            raise ArchiveUnsafe("the zip is refused: a file is shorter than it says")
        return count

    def _blocks(self, info: ZipInfo) -> Iterator[bytes]:
        """At most as many bytes as the directory states: zipfile stops there."""
        with _damage_named(), self._zip.open(info) as packed:
            while block := packed.read(BLOCK_BYTES):
                yield block

    def _dicom_members(self, files: Sequence[ZipInfo]) -> tuple[Member, ...]:
        if not files:
            raise ArchiveUnsafe(f"the zip holds no slide; {WANTED}")
        for info in files:
            with _damage_named(), self._zip.open(info) as packed:
                if packed.read(HEAD_BYTES)[128:] != b"DICM":
                    raise ArchiveUnsafe(f"the zip holds files of no MRXS or DICOM slide; {WANTED}")
        ordered = sorted(files, key=lambda info: info.filename)
        return tuple(Member(info, f"{i:05}.dcm") for i, info in enumerate(ordered, 1))


def _may_be_slide(info: ZipInfo) -> bool:
    path = PurePosixPath(info.filename)
    is_litter = any(LITTER.fullmatch(part) for part in path.parts)
    is_beside = path.suffix.lower() in BESIDE or path.name.upper() == "DICOMDIR"
    return not (info.is_dir() or is_litter or is_beside)


def _mrxs_members(indices: Sequence[ZipInfo], files: Sequence[ZipInfo]) -> tuple[Member, ...]:
    if len(indices) > 1:
        raise ArchiveUnsafe(f"the zip holds {len(indices)} MRXS slides; send one at a time")
    entry = PurePosixPath(indices[0].filename)
    members = [Member(indices[0], "slide.mrxs")]
    for info in files:
        path = PurePosixPath(info.filename)
        if path == entry:
            continue
        if path.parent != entry.with_suffix("") or not PART_OF_MRXS.fullmatch(path.name):
            raise ArchiveUnsafe(f"the zip holds files beside its MRXS slide; {WANTED}")
        members.append(Member(info, f"slide/{path.name}"))
    if all(member.place != f"slide/{INDEX}" for member in members):
        raise ArchiveUnsafe(f"the zip holds an MRXS file without its folder; {WANTED}")
    return tuple(members)


def _require_index(folder: Path) -> None:
    """The index names only files that came with it: OpenSlide opens whatever it names."""
    with (folder / INDEX).open("rb") as file:
        text = file.read(MAX_INDEX_BYTES + 1)
    if len(text) > MAX_INDEX_BYTES:
        raise ArchiveUnsafe(f"the zip is refused: the MRXS's index is over {MAX_INDEX_BYTES} bytes")
    here = {path.name.encode() for path in folder.iterdir()}
    if not all(name in here for name in NAMED_BY_INDEX.findall(text)):
        raise ArchiveUnsafe("the zip is refused: the MRXS's index names files that did not come")


@contextmanager
def _damage_named() -> Iterator[None]:
    try:
        yield
    except DAMAGES as error:
        raise ArchiveUnsafe("the zip is damaged: a file in it cannot be unpacked") from error
