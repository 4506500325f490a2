"""The directories of a TIFF, read with bounds on everything and without decoding a pixel.

Classic TIFF, BigTIFF, and NDPI (a classic TIFF with the high halves of its offsets set aside).
TIFF 6.0 and the BigTIFF design document give the layout; no value is trusted: what points outside
the file, loops or has no end is a CorruptSlide.
"""

import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsi.errors import CorruptSlide, SlideTooLarge
from wsi.geometry import Size

__all__ = ["Ifd", "Table", "TiffHeader", "is_tiff", "read_tiff_header"]

MAX_IFDS = 4096
MAX_ENTRIES = 4096  # tags in one directory; TIFF-based slides have about 30
MAX_TEXT_BYTES = 16 << 20
MAX_BLOCKS = 1 << 24  # tiles in one level: 2^24 of 64 px already are 6.9 * 10^10 pixels
NDPI_MARK = 65420  # the private tag that all NDPI directories have
NDPI_RESTARTS = 65426  # where each restart interval of the picture's one JPEG begins

TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8} | {
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
FORMATS = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}


class Tag(NamedTuple):
    kind: int
    length: int  # number of values
    offset: int  # of the values in the file
    inline: bytes | None  # the values themselves, where they fit into the directory

    @property
    def size_bytes(self) -> int:
        return self.length * TYPE_BYTES.get(self.kind, 0)


class Table:
    """Numbers of the tiles or strips: read when they are first asked for, then kept."""

    def __init__(self, tag: Tag | None, load: Callable[[Tag], NDArray[np.int64]]) -> None:
        self.tag = tag
        self._load = load

    def __len__(self) -> int:
        return self.tag.length if self.tag is not None else 0

    @cached_property
    def values(self) -> NDArray[np.int64]:
        return self._load(self.tag) if self.tag is not None else np.empty(0, np.int64)


@dataclass(frozen=True)
class Ifd:
    """One picture of the file. Codes are TIFF's own."""

    size: Size
    tile: Size | None  # None: strips
    rows_per_strip: int
    bits: tuple[int, ...]
    samples: int
    sample_format: int
    photometric: int
    compression: int
    planar: int
    orientation: int
    subsampling: tuple[int, ...]
    resolution: tuple[float, float, int] | None  # pixels a unit along x and y; 2 inch, 3 cm
    description: str
    icc_profile: bytes | None
    offset_table: Table
    count_table: Table
    child_offsets: tuple[int, ...]  # SubIFDs
    restart_count: int  # NDPI: parts of the JPEG that decode alone; 1 elsewhere
    is_child: bool = False
    place: int = 0  # of the directory itself in the file, bytes: no two have the same
    order: str = "<"  # of the bytes of a number, as NumPy and struct write it
    predictor: int = 1
    fill_order: int = 1
    jpeg_tables: bytes = b""  # what all JPEG tiles have in common, as a JPEG of its own

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Of the tiles or strips in the file, bytes."""
        return self.offset_table.values

    @property
    def counts(self) -> NDArray[np.int64]:
        """How long each is, bytes."""
        return self.count_table.values

    @property
    def pixel_count(self) -> int:
        return self.size.width * self.size.height

    @property
    def block(self) -> Size:
        """A tile, or a strip; the last strip may be lower."""
        if self.tile is not None:
            return self.tile
        return Size(self.size.width, max(1, min(self.rows_per_strip, self.size.height)))

    @property
    def is_sparse(self) -> bool:
        """Some tiles are not stored: they were not scanned."""
        return bool((self.counts == 0).any())


@dataclass(frozen=True)
class TiffHeader:
    ifds: tuple[Ifd, ...]  # in the order of the chain, each followed by its children
    size_bytes: int
    is_ndpi: bool
    has_tables: bool = True  # whether those of the tiles are read already

    @cached_property
    def main_index(self) -> int:
        """Place in the chain of the picture with most pixels: in SCN and BIF not the first."""
        chain = [ifd for ifd in self.ifds if not ifd.is_child]
        return max(range(len(chain)), key=lambda i: chain[i].pixel_count)

    @property
    def main(self) -> Ifd:
        return [ifd for ifd in self.ifds if not ifd.is_child][self.main_index]


def is_tiff(head: bytes) -> bool:
    return head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_tiff_header(
    stream: BinaryIO, size_bytes: int, name: str, *, with_tables: bool = True
) -> TiffHeader:
    """All directories of an open file; errors call it `name`. CorruptSlide, SlideTooLarge.

    Without tables, where each tile is stored is read from the stream when it is asked for.
    """
    return _Walker(stream, size_bytes, name, with_tables).read_header()


class _Walker:
    def __init__(self, stream: BinaryIO, size_bytes: int, name: str, with_tables: bool) -> None:
        self._stream, self._size, self._name = stream, size_bytes, name
        self._with_tables = with_tables
        self._lock = threading.Lock()
        head = self._read(0, 8)
        self._order = "<" if head[:2] == b"II" else ">"
        self._big = head[2:4] in (b"+\0", b"\0+")
        self._ndpi = False

    def read_header(self) -> TiffHeader:
        self._ndpi = self._is_ndpi()
        wide = self._big or self._ndpi
        (offset,) = self._unpack("Q" if wide else "I", 8 if self._big else 4)
        ifds: list[Ifd] = []
        seen: set[int] = set()
        while offset:
            ifd, next_offset = self._read_ifd(offset, seen)
            ifds.append(ifd)
            for child_offset in ifd.child_offsets:
                ifds.append(self._read_ifd(child_offset, seen, is_child=True)[0])
            offset = next_offset
        if not ifds:
            raise self._corrupt("it holds no picture")
        return TiffHeader(tuple(ifds), self._size, self._ndpi, self._with_tables)

    def _is_ndpi(self) -> bool:
        """Whether the first directory, found by either offset, has Hamamatsu's mark."""
        if self._big or self._order == ">":
            return False
        (offset,) = self._unpack("Q", 4) if self._size >= 12 else (0,)
        if not 0 < offset < self._size - 2:
            return False
        (entries,) = self._unpack("H", offset)
        if entries > MAX_ENTRIES or offset + 2 + entries * 16 + 8 > self._size:
            return False
        table = self._read(offset + 2, entries * 12)
        marks = {struct.unpack_from("<H", table, at)[0] for at in range(0, len(table), 12)}
        return NDPI_MARK in marks

    def _read_ifd(self, offset: int, seen: set[int], *, is_child: bool = False) -> tuple[Ifd, int]:
        if offset in seen:
            raise self._corrupt("its directories form a loop")
        seen.add(offset)
        if len(seen) > MAX_IFDS:
            raise SlideTooLarge(f"{self._name}: more than {MAX_IFDS} pictures in one file")
        tags, next_offset = self._read_tags(offset)
        return self._ifd_from_tags(tags, offset, is_child), next_offset

    def _read_tags(self, offset: int) -> tuple[dict[int, Tag], int]:
        (entries,) = self._unpack("Q" if self._big else "H", offset)
        if not 0 < entries <= MAX_ENTRIES:
            raise self._corrupt(f"a directory claims {entries} entries")
        at = offset + (8 if self._big else 2)
        width = 20 if self._big else 12
        table = self._read(at, entries * width)
        after = at + len(table)
        wide = self._big or self._ndpi
        (next_offset,) = self._unpack("Q" if wide else "I", after)
        high = self._read(after + 8, entries * 4) if self._ndpi else b"\0" * (entries * 4)
        tags: dict[int, Tag] = {}
        for i in range(entries):
            code, tag = self._parse_entry(table[i * width : (i + 1) * width], high[i * 4 :][:4])
            tags.setdefault(code, tag)
        return tags, next_offset

    def _parse_entry(self, entry: bytes, high: bytes) -> tuple[int, Tag]:
        code, kind, count = struct.unpack_from(self._order + ("HHQ" if self._big else "HHI"), entry)
        value = entry[12:] if self._big else entry[8:]
        size_bytes = count * TYPE_BYTES.get(kind, 0)
        if size_bytes <= len(value):
            wide = self._ndpi and count == 1 and kind == 4 and any(high)
            return code, Tag(16 if wide else kind, count, 0, value + high if wide else value)
        (offset,) = struct.unpack(self._order + ("Q" if self._big else "I"), value)
        if self._ndpi:
            offset += struct.unpack("<I", high)[0] << 32
        if offset + size_bytes > self._size:
            raise self._corrupt(f"tag {code} lies outside the file")
        return code, Tag(kind, count, offset, None)

    def _ifd_from_tags(self, tags: dict[int, Tag], place: int, is_child: bool) -> Ifd:
        tiled = 322 in tags or 324 in tags
        return Ifd(
            size=Size(self._number(tags, 256, 0), self._number(tags, 257, 0)),
            tile=Size(self._number(tags, 322, 0), self._number(tags, 323, 0)) if tiled else None,
            rows_per_strip=self._number(tags, 278, 2**32 - 1),
            bits=self._numbers(tags, 258) or (1,),
            samples=self._number(tags, 277, 1),
            sample_format=self._number(tags, 339, 1),
            photometric=self._number(tags, 262, 1),
            compression=self._number(tags, 259, 1),
            planar=self._number(tags, 284, 1),
            orientation=self._number(tags, 274, 1),
            subsampling=self._numbers(tags, 530) or (2, 2),
            resolution=self._resolution(tags),
            description=self._text(tags, 270),
            icc_profile=self._blob(tags, 34675),
            offset_table=self._block_table(tags, 324 if tiled else 273),
            count_table=self._block_table(tags, 325 if tiled else 279),
            child_offsets=self._numbers(tags, 330),
            restart_count=tags[NDPI_RESTARTS].length if NDPI_RESTARTS in tags else 1,
            is_child=is_child,
            place=place,
            order=self._order,
            predictor=self._number(tags, 317, 1),
            fill_order=self._number(tags, 266, 1),
            jpeg_tables=self._blob(tags, 347) or b"",
        )

    def _number(self, tags: dict[int, Tag], code: int, default: int) -> int:
        return next(iter(self._numbers(tags, code)), default)

    def _numbers(self, tags: dict[int, Tag], code: int) -> tuple[int, ...]:
        """A short list of whole numbers; empty where the tag is missing."""
        if code not in tags:
            return ()
        if tags[code].length > MAX_IFDS:
            raise self._corrupt(f"tag {code} claims {tags[code].length} values")
        return tuple(int(value) for value in self._array(tags[code]))

    def _block_table(self, tags: dict[int, Tag], code: int) -> Table:
        tag = tags.get(code)
        if tag is not None and tag.length > MAX_BLOCKS:
            raise SlideTooLarge(f"{self._name}: {tag.length} tiles in one level")
        table = Table(tag, self._array)
        if self._with_tables:
            _ = table.values
        return table

    def _array(self, tag: Tag) -> NDArray[np.int64]:
        if tag.kind not in FORMATS:
            raise self._corrupt(f"a number is stored as TIFF type {tag.kind}")
        data = self._value(tag)
        values = np.frombuffer(data, self._order + FORMATS[tag.kind])
        if values.size and values.max() > 2**60:
            raise self._corrupt("a number is out of all range")
        return values.astype(np.int64)

    def _text(self, tags: dict[int, Tag], code: int) -> str:
        if code not in tags or tags[code].kind not in (1, 2, 7):
            return ""
        if tags[code].length > MAX_TEXT_BYTES:
            raise SlideTooLarge(
                f"{self._name}: the description has {tags[code].length >> 20} MiB "
                f"(limit {MAX_TEXT_BYTES >> 20})"
            )
        return self._value(tags[code]).split(b"\0")[0].decode("utf-8", "replace")

    def _blob(self, tags: dict[int, Tag], code: int) -> bytes | None:
        tag = tags.get(code)
        if tag is None or not 0 < tag.length <= MAX_TEXT_BYTES:
            return None
        return self._value(tag) or None

    def _resolution(self, tags: dict[int, Tag]) -> tuple[float, float, int] | None:
        axes = [tags[code] for code in (282, 283) if code in tags]
        if len(axes) < 2 or any(tag.kind != 5 or tag.length == 0 for tag in axes):
            return None
        x, y = (struct.unpack_from(self._order + "II", self._value(tag)) for tag in axes)
        if not (x[0] and x[1] and y[0] and y[1]):
            return None
        return x[0] / x[1], y[0] / y[1], self._number(tags, 296, 2)

    def _value(self, tag: Tag) -> bytes:
        if tag.inline is not None:
            return tag.inline[: tag.size_bytes]
        return self._read(tag.offset, tag.size_bytes)

    def _unpack(self, layout: str, offset: int) -> tuple[int, ...]:
        layout = self._order + layout
        return struct.unpack(layout, self._read(offset, struct.calcsize(layout)))

    def _read(self, offset: int, size_bytes: int) -> bytes:
        if offset < 0 or offset + size_bytes > self._size:
            raise self._corrupt(f"the header goes on at byte {offset}, beyond the end of the file")
        with self._lock:  # tables may be read later, by any thread
            self._stream.seek(offset)
            data = self._stream.read(size_bytes)
        if len(data) != size_bytes:
            raise self._corrupt("the file ends inside its header")
        return data

    def _corrupt(self, reason: str) -> CorruptSlide:
        return CorruptSlide(f"{self._name}: damaged TIFF: {reason}; copy it again from its source")
