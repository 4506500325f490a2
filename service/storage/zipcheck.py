"""Whether a zip is built as honest ones are: checked before anything in it is unpacked.

The directory is measured before it is parsed, so that it cannot fill the memory; no two entries
share a byte ("A better zip bomb", Fifield 2019); no name leads anywhere.
"""

import os
import re
import stat
import struct
import unicodedata
import zipfile
from collections.abc import Sequence
from typing import BinaryIO, NoReturn
from zipfile import ZipFile, ZipInfo

from service.errors import ArchiveUnsafe

__all__ = ["LITTER", "MAX_ENTRIES", "open_checked"]

MAX_ENTRIES = 20_000
MAX_DIRECTORY_BYTES = 8 << 20  # 20,000 entries with names of 350 bytes
MAX_RATIO = 100
FREE_RATIO_BYTES = 1 << 20  # an index that is mostly zeros may pack better than 1 : 100
MAX_DEPTH = 8

COMPONENT = re.compile(r"[\w(\[][\w .()\[\]{}+,;=@#$%&^~!'-]{0,159}")
LITTER = re.compile(r"(__macosx|\.ds_store|thumbs\.db|desktop\.ini|\._[\w .-]*)", re.IGNORECASE)
"""What file managers put beside slides."""

ARCHIVES = re.compile(
    r".*\.(zip|7z|rar|gz|tgz|tar|bz2|tbz2?|xz|txz|zst|jar|cab|iso|lzh|lzma|ar|cpio)", re.IGNORECASE
)
END = struct.Struct("<4s4H2LH")
LOCATOR64 = struct.Struct("<4sLQL")
END64 = struct.Struct("<4sQ2H2L4Q")
LOCAL = struct.Struct("<4s5H3L2H")
ENCRYPTED = 0x1 | 0x40 | 0x2000  # flags: encrypted, strongly encrypted, masked headers
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def open_checked(stream: BinaryIO) -> ZipFile:
    """The zip, ready to be read. Raises ArchiveUnsafe."""
    start, count = _measure_directory(stream)
    try:
        archive = ZipFile(stream)
    except Exception as error:  # zipfile raises five kinds, by what is wrong
        raise ArchiveUnsafe("the zip's directory is damaged; pack the slide again") from error
    entries = archive.infolist()
    if len(entries) != count:
        _refuse(f"it announces {count} entries and lists {len(entries)}")
    for info in entries:
        _require_plain(info)
    _require_distinct(entries)
    _require_apart(stream, entries, start)
    _require_ratio(entries, start)
    return archive


def _measure_directory(stream: BinaryIO) -> tuple[int, int]:
    """Where the directory starts, and how many entries it announces.

    It must end where its own record begins, and that record must end the file: then there is one
    way only to read it, zipfile's and everybody else's.
    """
    end = stream.seek(0, os.SEEK_END) - END.size
    mark, *numbers, comment = END.unpack(_read(stream, end, END.size))
    if mark != b"PK\5\6" or comment:
        _refuse("it does not end with its directory; it was cut short, or something follows")
    if _read(stream, end - LOCATOR64.size, 4) == b"PK\6\7":
        end, numbers = _read_wide(stream, end, numbers)
    disk, start_disk, here, count, size_bytes, start = numbers
    if disk or start_disk or here != count:
        _refuse("it is one part of several")
    if count > MAX_ENTRIES:
        _refuse(f"it has {count} entries; the limit is {MAX_ENTRIES}")
    if size_bytes > MAX_DIRECTORY_BYTES:
        _refuse(f"its directory has {size_bytes} bytes; the limit is {MAX_DIRECTORY_BYTES}")
    if start + size_bytes != end:
        _refuse("its directory is not where the zip says")
    return start, count


def _read_wide(stream: BinaryIO, end: int, narrow: Sequence[int]) -> tuple[int, list[int]]:
    """The zip64 record before the usual one. A number that both state must be the same."""
    at = end - LOCATOR64.size - END64.size
    _, disk, stated_at, disks = LOCATOR64.unpack(_read(stream, end - LOCATOR64.size, 20))
    mark, size, _, _, *numbers = END64.unpack(_read(stream, at, END64.size))
    if mark != b"PK\6\6" or size != END64.size - 12 or stated_at != at or disk or disks > 1:
        _refuse("its zip64 directory is not where the zip says")
    unstated = (0xFFFF,) * 4 + (0xFFFFFFFF,) * 2
    if any(n not in (u, w) for n, u, w in zip(narrow, unstated, numbers, strict=True)):
        _refuse("its two directories contradict each other")
    return at, numbers


def _require_plain(info: ZipInfo) -> None:
    """A file or folder with a harmless name, packed in a usual way."""
    _require_name(info.orig_filename)
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        _refuse("it holds a link or a device")
    if info.flag_bits & ENCRYPTED:
        _refuse("it is encrypted")
    if info.compress_type not in METHODS:
        _refuse(f"it is packed by method {info.compress_type}; use deflate, the usual one")
    if info.compress_type == zipfile.ZIP_STORED and info.file_size != info.compress_size:
        _refuse("it states two sizes for a file that is not packed")
    if info.is_dir() and info.file_size:
        _refuse("it holds a folder that has bytes")
    if not info.is_dir() and ARCHIVES.fullmatch(info.filename):
        _refuse("it holds another archive")


def _require_name(name: str) -> None:
    parts = name.removesuffix("/").split("/")
    if len(parts) > MAX_DEPTH:
        _refuse(f"it holds folders more than {MAX_DEPTH} deep")
    if not all(LITTER.fullmatch(part) or _is_harmless(part) for part in parts):
        _refuse("it holds a name that no slide has: absolute, with .. or with odd characters")


def _is_harmless(part: str) -> bool:
    return COMPONENT.fullmatch(part) is not None and part == part.rstrip(". ")


def _require_distinct(entries: Sequence[ZipInfo]) -> None:
    """No two names that some file system takes for one, and no file that is a folder, too."""
    names = [_folded(info) for info in entries]
    if len(set(names)) != len(names):
        _refuse("it holds two files of the same name")
    files = {_folded(info) for info in entries if not info.is_dir()}
    if any(parent in files for name in names for parent in _parents(name)):
        _refuse("it holds a file and a folder of the same name")


def _folded(info: ZipInfo) -> str:
    return unicodedata.normalize("NFKC", info.filename.removesuffix("/")).casefold()


def _parents(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:i]) for i in range(1, len(parts))]


def _require_apart(stream: BinaryIO, entries: Sequence[ZipInfo], start: int) -> None:
    """Each entry has its bytes for itself, all of them before the directory."""
    taken = 0
    for info in sorted(entries, key=lambda info: info.header_offset):
        if info.header_offset < taken:
            _refuse("its entries overlap")
        mark, *_, name_bytes, extra_bytes = LOCAL.unpack(
            _read(stream, info.header_offset, LOCAL.size)
        )
        if mark != b"PK\3\4":
            _refuse("an entry is not where the zip says")
        taken = info.header_offset + LOCAL.size + name_bytes + extra_bytes + info.compress_size
    if taken > start:
        _refuse("an entry reaches beyond the zip's end")


def _require_ratio(entries: Sequence[ZipInfo], packed_bytes: int) -> None:
    for info in entries:
        if info.file_size > max(FREE_RATIO_BYTES, MAX_RATIO * info.compress_size):
            _refuse(f"a file would grow more than {MAX_RATIO} times; it is a bomb")
    total = sum(info.file_size for info in entries)
    if total > max(FREE_RATIO_BYTES, MAX_RATIO * packed_bytes):
        _refuse(f"it would grow more than {MAX_RATIO} times; it is a bomb")


def _read(stream: BinaryIO, start: int, size_bytes: int) -> bytes:
    data = b""
    if start >= 0:
        stream.seek(start)
        data = stream.read(size_bytes)
    if len(data) != size_bytes:
        _refuse("it was cut short")
    return data


def _refuse(what: str) -> NoReturn:
    raise ArchiveUnsafe(f"the zip is refused: {what}")
