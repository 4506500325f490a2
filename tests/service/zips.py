"""Zips for tests: honest ones by zipfile, lying ones by changing their bytes afterwards."""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

JPEG = b"\xff\xd8\xff\xe0 a picture"
DICOM = b"\0" * 128 + b"DICM"
INDEX = (
    b"[DATAFILE]\nFILE_COUNT = 1\nFILE_0 = Data0000.dat\n[HIERARCHICAL]\nINDEXFILE = Index.dat\n"
)
MRXS = {
    "a.mrxs": JPEG,
    "a/Slidedat.ini": INDEX,
    "a/Index.dat": b"01.02",
    "a/Data0000.dat": b"data",
}


def pack(
    files: Mapping[str, bytes],
    *,
    method: int = ZIP_DEFLATED,
    change: Callable[[ZipInfo], None] = lambda info: None,
) -> bytes:
    """Later entries of the same name are written, too: names are a list of pairs in a zip."""
    file = io.BytesIO()
    with ZipFile(file, "w", method) as archive:
        for name, data in files.items():
            info = ZipInfo(name)
            info.compress_type = method
            change(info)
            archive.writestr(info, data)
    return file.getvalue()


def patch_directory(
    packed: bytes, field: int, layout: str, value: int, *, entry: int = -1
) -> bytes:
    """Overwrites a field of an entry of the central directory."""
    at, found = 0, []
    while (at := packed.find(b"PK\1\2", at)) >= 0:
        found.append(at)
        at += 4
    data = bytearray(packed)
    struct.pack_into(layout, data, found[entry] + field, value)
    return bytes(data)


def patch_end(packed: bytes, field: int, layout: str, value: int) -> bytes:
    data = bytearray(packed)
    struct.pack_into(layout, data, len(data) - 22 + field, value)
    return bytes(data)


def rename_raw(packed: bytes, old: bytes, new: bytes) -> bytes:
    """Changes a name where zipfile would not write it; both have the same length."""
    assert len(old) == len(new)
    return packed.replace(old, new)


def with_link(target: str = "/etc/passwd") -> bytes:
    def make_link(info: ZipInfo) -> None:
        if info.filename == "a/Data0000.dat":
            info.external_attr = 0o120777 << 16
            info.create_system = 3

    return pack({**MRXS, "a/Data0000.dat": target.encode()}, change=make_link)


def with_duplicate(first: str, second: str) -> bytes:
    length = max(len(first), len(second))
    placeholder = "a/" + "z" * (length - 2)
    return rename_raw(
        pack({**MRXS, first: b"1", placeholder: b"2"}), placeholder.encode(), second.encode()
    )


def quoted_overlap(count: int, kernel_bytes: int) -> bytes:
    """Fifield's bomb in small: each local header is quoted by a stored block of the one before,
    and all of them share one kernel of zeros."""
    squeezed = zlib.compressobj(9, zlib.DEFLATED, -15)
    kernel = squeezed.compress(b"\0" * kernel_bytes) + squeezed.flush()
    names = [f"a/{i:04}.dcm".encode() for i in range(count)]
    body, size, crc = kernel, kernel_bytes, zlib.crc32(b"\0" * kernel_bytes)
    pieces, records = b"", []
    data = b"\0" * kernel_bytes
    for name in reversed(names):
        header = struct.pack(
            "<4s5H3L2H", b"PK\3\4", 20, 0, 8, 0, 33, crc, len(body), size, len(name), 0
        )
        records.append((name, crc, len(body), size, len(header + name + body)))
        whole = header + name
        pieces = whole + body
        data = whole + data
        size, crc = len(data), zlib.crc32(data)
        body = b"\0" + struct.pack("<HH", len(whole), len(whole) ^ 0xFFFF) + pieces
    directory = b""
    for name, crc_, packed_size, full_size, from_end in records:
        directory += struct.pack(
            "<4s6H3L5H2L",
            *(b"PK\1\2", 20, 20, 0, 8, 0, 33, crc_, packed_size, full_size, len(name)),
            *(0, 0, 0, 0, 0, len(pieces) - from_end),
        )
        directory += name
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(directory), len(pieces), 0)
    return pieces + directory + end


def same_bytes_twice() -> bytes:
    """Two entries of the directory point to one file."""
    packed = pack({"a/1.dcm": DICOM, "a/2.dcm": DICOM}, method=ZIP_STORED)
    return patch_directory(packed, 42, "<L", 0)


def nested(depth: int = 2) -> bytes:
    packed = b"\0" * 10_000
    for _ in range(depth):
        packed = pack({"lib 0.zip": packed})
    return packed


def hidden_archive() -> bytes:
    return pack({**MRXS, "a/Data0000.dat": pack({"x": b"x"})})


def encrypted() -> bytes:
    packed = patch_directory(pack(MRXS), 8, "<H", 1)
    data = bytearray(packed)
    struct.pack_into("<H", data, data.rindex(b"PK\3\4") + 6, 1)
    return bytes(data)


def zip64_lie(field: int, value: int) -> bytes:
    """A zip64 record before the end, one number of which contradicts it.

    Fields, bytes from its start: 32 entries, 40 bytes of the directory, 48 its place.
    """
    packed = pack(MRXS)
    _, _, _, here, count, size, start, _ = struct.unpack("<4s4H2LH", packed[-22:])
    at = len(packed) - 22
    record = bytearray(
        struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, here, count, size, start)
    )
    if value >= 0:
        struct.pack_into("<Q", record, field, value)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, at, 1)
    return packed[:at] + bytes(record) + locator + packed[at:]


def many(count: int) -> bytes:
    return pack({f"a/{i:05}.dcm": b"" for i in range(count)}, method=ZIP_STORED)


def bad_crc() -> bytes:
    packed = pack(MRXS, method=ZIP_STORED)
    at = packed.index(b"data")
    return packed[:at] + b"dada" + packed[at + 4 :]


def named(name: str) -> bytes:
    """An MRXS with one more file, of a name that zipfile would mend."""
    placeholder = "a/" + "z" * max(0, len(name.encode()) - 2)
    placeholder = placeholder[: len(name.encode())]
    return rename_raw(
        pack({**MRXS, placeholder: b"x"}, method=ZIP_STORED), placeholder.encode(), name.encode()
    )


def described_shorter() -> bytes:
    """A megabyte of zeros that says it has 4 bytes."""
    packed = pack({**MRXS, "a/Data0000.dat": bytes(1 << 20)})
    return patch_directory(packed, 24, "<L", 4)


def described_longer() -> bytes:
    return patch_directory(pack(MRXS), 24, "<L", 400)


def stored_lie() -> bytes:
    return patch_directory(pack(MRXS, method=ZIP_STORED), 24, "<L", 400)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "parent": lambda: named("../../../../tmp/evil.dat"),
    "parent inside": lambda: named("a/../../evil.dat"),
    "parent of windows": lambda: named("a\\..\\..\\evil.dat"),
    "absolute": lambda: named("/tmp/evil.dat"),
    "drive": lambda: named("C:/evil.dat"),
    "share": lambda: named("//server/evil.dat"),
    "backslash": lambda: named("a\\evil.dat"),
    "nul in a name": lambda: named("a/evil.dat\0.dcm"),
    "control character": lambda: named("a/ev\x1bil.dat"),
    "line end": lambda: named("a/evil\n.dat"),
    "right to left": lambda: named("a/\u202etad.live"),
    "hidden": lambda: named("a/.profile"),
    "option": lambda: named("a/-rf"),
    "trailing dot": lambda: named("a/evil."),
    "empty part": lambda: named("a//evil.dat"),
    "dot part": lambda: named("a/./evil.dat"),
    "long name": lambda: named("a/" + "e" * 300),
    "deep": lambda: named("a/" * 50 + "e"),
    "link": with_link,
    "link out": lambda: with_link("../../../wsi.sqlite3"),
    "device": lambda: pack(MRXS, change=lambda i: setattr(i, "external_attr", 0o020666 << 16)),
    "pipe": lambda: pack(MRXS, change=lambda i: setattr(i, "external_attr", 0o010666 << 16)),
    "ratio of one file": lambda: pack({**MRXS, "a/Data0000.dat": bytes(16 << 20)}),
    "ratio of all files": lambda: pack({f"{i}.dcm": bytes(1 << 20) for i in range(64)}),
    "quoted overlap": lambda: quoted_overlap(100, 1 << 20),
    "full overlap": same_bytes_twice,
    "30,000 entries": lambda: many(30_000),
    "entries that are not announced": lambda: patch_end(
        patch_end(many(200), 8, "<H", 5), 10, "<H", 5
    ),
    "giant directory": lambda: patch_end(pack(MRXS), 12, "<L", 1 << 30),
    "directory elsewhere": lambda: patch_end(pack(MRXS), 16, "<L", 1),
    "several disks": lambda: patch_end(pack(MRXS), 4, "<H", 1),
    "duplicate": lambda: with_duplicate("a/twice.dat", "a/twice.dat"),
    "case clash": lambda: with_duplicate("a/Twice.dat", "a/tWICE.dat"),
    "file and folder": lambda: with_duplicate("a/both", "a/both/x"),
    "zip64 entries": lambda: zip64_lie(32, 1 << 40),
    "zip64 directory bytes": lambda: zip64_lie(40, 1 << 40),
    "zip64 directory place": lambda: zip64_lie(48, 1 << 40),
    "encrypted": encrypted,
    "bzip2": lambda: pack(MRXS, method=zipfile.ZIP_BZIP2),
    "lzma": lambda: pack(MRXS, method=zipfile.ZIP_LZMA),
    "crc": bad_crc,
    "says it is shorter": described_shorter,
    "says it is longer": described_longer,
    "stored with two sizes": stored_lie,
    "truncated": lambda: pack(MRXS)[:-30],
    "cut in the middle": lambda: pack(MRXS)[:100],
    "empty": lambda: pack({}),
    "only the end's mark": lambda: b"PK\5\6",
    "appended": lambda: pack(MRXS) + b"MZ more",
    "prepended": lambda: b"PK\3\4 something before" + pack(MRXS),
    "entry outside": lambda: patch_directory(pack(MRXS), 42, "<L", 1 << 31),
    "entry reaches into the directory": lambda: patch_directory(
        patch_directory(pack(MRXS, method=ZIP_STORED), 20, "<L", 500), 24, "<L", 500
    ),
    "nested": nested,
    "nested by content": hidden_archive,
    "two slides": lambda: pack({**MRXS, "b.mrxs": JPEG}),
    "no folder": lambda: pack({"a.mrxs": JPEG}),
    "another slide": lambda: pack({"a.svs": b"II*\0" + bytes(100)}),
    "a program beside": lambda: pack({**MRXS, "a.exe": b"MZ"}),
    "index names a file elsewhere": lambda: pack(
        {**MRXS, "a/Slidedat.ini": b"FILE_0 = ../../../../etc/passwd\nINDEXFILE = Index.dat\n"}
    ),
    "index names a file that is missing": lambda: pack(
        {**MRXS, "a/Slidedat.ini": INDEX.replace(b"Data0000", b"Data0001")}
    ),
    "giant index": lambda: pack(
        {**MRXS, "a/Slidedat.ini": INDEX + bytes(range(256)) * 20_000}, method=ZIP_STORED
    ),
    "dicom with a bomb": lambda: pack({"1.dcm": DICOM + bytes(16 << 20)}),
}

REASONS = {
    "deep": "more than 8 deep",
    "link": "a link or a device",
    "link out": "a link or a device",
    "device": "a link or a device",
    "pipe": "a link or a device",
    "ratio of one file": "a file would grow more than 100 times",
    "ratio of all files": "it would grow more than 100 times",
    "quoted overlap": "entries overlap",
    "full overlap": "entries overlap",
    "30,000 entries": "30000 entries; the limit is 20000",
    "entries that are not announced": "announces 5 entries and lists 200",
    "giant directory": "directory has 1073741824 bytes",
    "directory elsewhere": "directory is not where",
    "several disks": "one part of several",
    "duplicate": "two files of the same name",
    "case clash": "two files of the same name",
    "file and folder": "a file and a folder of the same name",
    "zip64 entries": "contradict each other",
    "zip64 directory bytes": "contradict each other",
    "zip64 directory place": "contradict each other",
    "encrypted": "it is encrypted",
    "bzip2": "packed by method 12",
    "lzma": "packed by method 14",
    "crc": "cannot be unpacked",
    "says it is shorter": "cannot be unpacked",
    "says it is longer": "a file is shorter than it says",
    "stored with two sizes": "states two sizes",
    "truncated": "does not end with its directory",
    "cut in the middle": "does not end with its directory",
    "empty": "it was cut short",
    "only the end's mark": "it was cut short",
    "appended": "does not end with its directory",
    "prepended": "directory is not where",
    "entry outside": "it was cut short",
    "entry reaches into the directory": "reaches beyond",
    "nested": "holds another archive",
    "nested by content": "holds another archive",
    "two slides": "2 MRXS slides",
    "no folder": "without its folder",
    "another slide": "no MRXS or DICOM slide",
    "a program beside": "files beside its MRXS slide",
    "index names a file elsewhere": "names files that did not come",
    "index names a file that is missing": "names files that did not come",
    "giant index": "index is over 4194304 bytes",
    "dicom with a bomb": "a file would grow more than 100 times",
}
"""What the refusal says, so that each is refused for what is wrong with it; else: its name."""
