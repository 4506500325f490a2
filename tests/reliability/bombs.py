"""Files whose headers promise more than anybody could decode, or point where they should not."""

import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import tifffile

__all__ = ["BOMBS"]

GIB = 1 << 30
ZLIB, RAW = zlib.MAX_WBITS, -zlib.MAX_WBITS  # with a header and a checksum, and without
DICOM_EXPLICIT, DICOM_DEFLATED = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"
WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"


def tiff(path: Path, changes: dict[int, int], page: int = 0) -> Path:
    """A small tiled TIFF with some of its tags overwritten."""
    tifffile.imwrite(path, np.zeros((256, 256, 3), np.uint8), photometric="rgb", tile=(64, 64))
    with tifffile.TiffFile(path) as file:
        tags = {code: file.pages[page].tags[code] for code in changes}
        places = {code: (tag.valueoffset, int(tag.dtype)) for code, tag in tags.items()}
    data = bytearray(path.read_bytes())
    for code, (at, kind) in places.items():
        struct.pack_into({3: "<H", 4: "<I", 16: "<Q"}[kind], data, at, changes[code])
    path.write_bytes(data)
    return path


def classic_tiff(path: Path, ifds: list[list[tuple[int, int, int, int]]], tail: int = 0) -> Path:
    """Directories of (tag, type, count, value), one after the other; `tail`: where the last one
    points to."""
    data = bytearray(struct.pack("<2sHI", b"II", 42, 8))
    for number, entries in enumerate(ifds):
        data += struct.pack("<H", len(entries))
        for entry in entries:
            data += struct.pack("<HHII", *entry)
        last = number == len(ifds) - 1
        data += struct.pack("<I", tail if last else len(data) + 4)
    path.write_bytes(data)
    return path


def main_ifd(**changes: int) -> list[tuple[int, int, int, int]]:
    numbers = {"width": 256, "height": 256, "tiles": 1, "tile": 256, "offset": 8} | changes
    return [
        (256, 4, 1, numbers["width"]),
        (257, 4, 1, numbers["height"]),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (277, 3, 1, 3),
        (322, 4, 1, numbers["tile"]),
        (323, 4, 1, numbers["tile"]),
        (324, 4, numbers["tiles"], numbers["offset"]),
        (325, 4, numbers["tiles"], 8),
    ]


def png(path: Path, width: int, height: int, *chunks: tuple[bytes, bytes]) -> Path:
    header = (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n"
    for name, content in (header, *chunks, (b"IDAT", b"\0"), (b"IEND", b"")):
        checksum = zlib.crc32(name + content)
        data += struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)
    path.write_bytes(data)
    return path


@cache
def zeros(size_bytes: int, window_bits: int) -> bytes:
    """Deflated, a thousandth of that."""
    packer = zlib.compressobj(1, zlib.DEFLATED, window_bits)
    packed = [packer.compress(bytes(1 << 20)) for _ in range(size_bytes >> 20)]
    return b"".join(packed) + packer.flush()


def dicom(path: Path, syntax: str, content: bytes, size_bytes: int = 0) -> Path:
    """A file of that transfer syntax; sparse up to size_bytes."""
    meta = element(0x0002, 0x0002, b"UI", WHOLE_SLIDE.encode())
    meta += element(0x0002, 0x0003, b"UI", b"1.2.3")
    meta += element(0x0002, 0x0010, b"UI", syntax.encode())
    start = bytes(128) + b"DICM" + element(0x0002, 0x0000, b"UL", struct.pack("<I", len(meta)))
    with path.open("wb") as stream:
        stream.write(start + meta + content)
        stream.truncate(max(size_bytes, stream.tell()))
    return path


def element(group: int, number: int, kind: bytes, value: bytes, length: int | None = None) -> bytes:
    value += (b"\0" if kind == b"UI" else b" ") * (len(value) % 2)
    size_bytes = len(value) if length is None else length
    if kind in (b"OB", b"UT", b"UN", b"SQ"):
        return struct.pack("<HH2sHI", group, number, kind, 0, size_bytes) + value
    return struct.pack("<HH2sH", group, number, kind, size_bytes) + value


def whole_slide(**sizes: int) -> bytes:
    content = element(0x0008, 0x0008, b"CS", b"ORIGINAL\\PRIMARY\\VOLUME\\NONE")
    content += element(0x0008, 0x0016, b"UI", WHOLE_SLIDE.encode())
    content += element(0x0020, 0x000E, b"UI", b"1.2.4")
    content += element(0x0028, 0x0002, b"US", struct.pack("<H", 3))
    content += element(0x0028, 0x0010, b"US", struct.pack("<H", sizes["tile"]))
    content += element(0x0028, 0x0011, b"US", struct.pack("<H", sizes["tile"]))
    content += element(0x0028, 0x0100, b"US", struct.pack("<H", 8))
    content += element(0x0048, 0x0006, b"UL", struct.pack("<I", sizes["side"]))
    content += element(0x0048, 0x0007, b"UL", struct.pack("<I", sizes["side"]))
    return content


def ome(path: Path, xml: bytes) -> Path:
    tifffile.imwrite(
        path,
        np.zeros((256, 256, 3), np.uint8),
        photometric="rgb",
        tile=(64, 64),
        description=xml,
        metadata=None,
    )
    return path


def laughs() -> bytes:
    entities = "".join(
        f'<!ENTITY l{i} "{f"&l{i - 1};" * 10 if i else "ha" * 10}">' for i in range(10)
    )
    return (
        f'<?xml version="1.0"?><!DOCTYPE OME [{entities}]>'
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">&l9;</OME>'
    ).encode()


def outside_entity() -> bytes:
    return (
        b'<?xml version="1.0"?><!DOCTYPE OME [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
        b'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">&x;</OME>'
    )


def hamamatsu(path: Path, lines: list[str], size_bytes: int = 0) -> Path:
    text = "\n".join(["[Virtual Microscope Specimen]", *lines]) + "\n"
    with path.open("w") as stream:
        stream.write(text)
        stream.truncate(max(size_bytes, len(text)))
    return path


def mirax(path: Path, index_bytes: int) -> Path:
    path.write_bytes(b"\xff\xd8\xff")
    folder = path.with_suffix("")
    folder.mkdir()
    with (folder / "Slidedat.ini").open("wb") as stream:
        stream.write(b"[GENERAL]\n")
        stream.truncate(index_bytes)
    return path


def sparse(path: Path, start: bytes, size_bytes: int) -> Path:
    with path.open("wb") as stream:
        stream.write(start)
        stream.truncate(size_bytes)
    return path


def big_tiff_loop(path: Path) -> Path:
    path.write_bytes(struct.pack("<2sHHHQQQ", b"II", 43, 8, 0, 16, 0, 16))
    return path


BOMBS: dict[str, Callable[[Path], Path]] = {
    "tiff-million-by-million": lambda d: tiff(d / "a.tif", {256: 65535, 257: 65535}),
    "tiff-10e6-by-10e6": lambda d: classic_tiff(
        d / "a.tif", [main_ifd(width=10**6, height=10**6)]
    ),
    "tiff-4e9-by-4e9": lambda d: classic_tiff(
        d / "a.tif", [main_ifd(width=0xFFFFFFFF, height=0xFFFFFFFF)]
    ),
    "tiff-block-of-12-gib": lambda d: tiff(d / "a.tif", {322: 65520, 323: 65520}),
    "tiff-tile-of-nothing": lambda d: tiff(d / "a.tif", {322: 0, 323: 0}),
    "tiff-strip-of-a-gigapixel": lambda d: classic_tiff(
        d / "a.tif",
        [[e for e in main_ifd(width=30000, height=30000) if e[0] < 322]
         + [(273, 4, 1, 8), (278, 4, 1, 30000), (279, 4, 1, 8)]],
    ),
    "tiff-4e9-tiles": lambda d: classic_tiff(d / "a.tif", [main_ifd(tiles=0xFFFFFFFF)]),
    "tiff-tiles-outside": lambda d: classic_tiff(d / "a.tif", [main_ifd(offset=0x7FFFFFFF)]),
    "tiff-ifd-loop": lambda d: classic_tiff(d / "a.tif", [main_ifd()], tail=8),
    "tiff-ifd-outside": lambda d: classic_tiff(d / "a.tif", [main_ifd()], tail=0x7FFFFFF0),
    "tiff-5000-ifds": lambda d: classic_tiff(d / "a.tif", [main_ifd()] * 5000),
    "tiff-no-ifd": lambda d: classic_tiff(d / "a.tif", [], tail=0),
    "bigtiff-empty-loop": lambda d: big_tiff_loop(d / "a.tif"),
    "tiff-sparse-2-gib": lambda d: sparse(d / "a.tif", b"II*\0\x08\0\0\0", 2 * GIB),
    "png-4e9-by-4e9": lambda d: png(d / "a.png", 0x7FFFFFFF, 0x7FFFFFFF),
    "png-gigapixel": lambda d: png(d / "a.png", 32000, 32000),
    "png-profile-of-a-gib": lambda d: png(
        d / "a.png", 64, 64, (b"iCCP", b"p\0\0" + zeros(GIB, ZLIB))
    ),
    "png-text-of-a-gib": lambda d: png(d / "a.png", 64, 64, (b"zTXt", b"p\0\0" + zeros(GIB, ZLIB))),
    "jpeg-65500-square": lambda d: sparse(
        d / "a.jpg",
        b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 17, 8, 65500, 65500, 3)
        + bytes.fromhex("012200021101031101") + b"\xff\xda",
        1000,
    ),
    "bmp-2e9-square": lambda d: sparse(
        d / "a.bmp",
        struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 100, 0, 0, 54, 40, 2**31 - 1, 2**31 - 1, 1, 24,
                    0, 0, 0, 0, 0, 0),
        1000,
    ),
    "dicom-deflated-gib": lambda d: dicom(d / "a.dcm", DICOM_DEFLATED, zeros(GIB, RAW)),
    "dicom-element-of-a-gib": lambda d: dicom(
        d / "a.dcm",
        DICOM_EXPLICIT,
        element(0x0008, 0x0016, b"UN", b"", GIB),
        GIB + 4096,
    ),
    "dicom-pixels-4e9-square": lambda d: dicom(
        d / "a.dcm", DICOM_EXPLICIT, whole_slide(tile=256, side=0xFFFFFFFF)
    ),
    "dicom-frame-of-16-gib": lambda d: dicom(
        d / "a.dcm", DICOM_EXPLICIT, whole_slide(tile=65535, side=65535)
    ),
    "dicom-deep-sequences": lambda d: dicom(
        d / "a.dcm",
        DICOM_EXPLICIT,
        (element(0x0008, 0x1115, b"SQ", b"", 0xFFFFFFFF) + b"\xfe\xff\x00\xe0\xff\xff\xff\xff")
        * 50_000,
    ),
    "vms-index-of-a-gib": lambda d: hamamatsu(d / "a.vms", [], GIB),
    "vms-other-folder": lambda d: hamamatsu(d / "a.vms", ["ImageFile=../../etc/passwd"]),
    "vms-absolute": lambda d: hamamatsu(d / "a.vms", ["ImageFile=/etc/passwd"]),
    "vms-100000-files": lambda d: hamamatsu(
        d / "a.vms", [f"ImageFile({i},0)=missing{i}.jpg" for i in range(100_000)]
    ),
    "mrxs-index-of-a-gib": lambda d: mirax(d / "a.mrxs", GIB),
    "zero-bytes": lambda d: sparse(d / "a.svs", b"", 0),
    "a-gib-of-zeros": lambda d: sparse(d / "a.svs", b"", GIB),
}  # fmt: skip
"""Each writes into an empty folder, and is to be refused."""
