"""A slide's file behind a URL: ranges of it, several at a time, none of them twice.

Directories lie all over a TIFF: what describes the slide is read through blocks that are kept.
Tiles are read exactly, neighbours in one request, and their compressed bytes are kept as long as
there is room, because masks, pictures and tiles often come from the same level.
"""

import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import BinaryIO, Protocol, cast

from wsi.address import public_path
from wsi.errors import UnsupportedSlide
from wsi.readers.gate import Source
from wsi.readers.stored import cut_run
from wsi.readers.tiffgate import check_tiff
from wsi.readers.tiffplan import Run, Span, plan_runs
from wsi.readers.tifftags import TiffHeader, is_tiff, read_tiff_header
from wsi.slide import RemoteIdentity

__all__ = ["ByteRanges", "RemoteFile", "connect"]

BLOCK_BYTES = 16 << 10  # of the header's blocks: a directory, its texts and its resolution
MAX_GAP_BYTES = 64 << 10  # at 100 Mbit/s 5 ms, less than a request takes to come back
MAX_RUN_BYTES = 1 << 20  # more goes over several connections
CONNECTIONS = 8
KEPT_TILES_BYTES = 64 << 20  # the 1/16 level of any slide, several times
KEPT_HEADER_BYTES = 32 << 20


class ByteRanges(Protocol):
    """A file that somebody serves in parts; safe from several threads."""

    @property
    def identity(self) -> RemoteIdentity: ...

    def fetch(self, offset: int, size_bytes: int) -> bytes:
        """All bytes of a range inside the file. WsiError, in one sentence, where they do not come
        after a few tries, or no longer are those of the file that was opened."""
        ...

    def close(self) -> None: ...


def connect(source: Source) -> Source:
    """What passed the gate as a URL, with its header and the file; the caller closes the file.

    From here on it is called by its address without credentials, whatever is said of it. Raises
    SlideNotFound, SlideUnreachable, UnsupportedSlide, CorruptSlide, SlideTooLarge.
    """
    remote, name = RemoteFile(_open_ranges(source.path)), public_path(source.path)
    try:
        header = _read_header(remote, name)
    except BaseException:
        remote.close()
        raise
    return replace(source, path=name, kind="tiff", tiff=header, remote=remote)


def _open_ranges(url: str) -> ByteRanges:
    if url.lower().startswith(("http://", "https://")):
        from wsi.readers.httpranges import HttpRanges

        return HttpRanges(url)
    from wsi.readers.objectranges import ObjectRanges

    return ObjectRanges(url)


def _read_header(remote: "RemoteFile", name: str) -> TiffHeader:
    stream, size_bytes = remote.stream(), remote.identity.size_bytes
    if not is_tiff(stream.read(8)):
        raise UnsupportedSlide(
            f"{name}: no TIFF; only TIFF slides (SVS, SCN, OME-TIFF …) are read from a URL, "
            "copy others to a local disk"
        )
    header = read_tiff_header(stream, size_bytes, name, with_tables=False)
    check_tiff(header, name)
    return header


class RemoteFile:
    """Safe from several threads. Closes the ranges with it."""

    def __init__(self, ranges: ByteRanges) -> None:
        self._ranges = ranges
        self._tiles = _KeptSpans(KEPT_TILES_BYTES)
        self._header = _KeptSpans(KEPT_HEADER_BYTES)
        self._pool = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="remote")

    @property
    def identity(self) -> RemoteIdentity:
        return self._ranges.identity

    def read_spans(self, spans: Sequence[Span]) -> list[memoryview]:
        """The bytes of each, in their order. ValueError where the file ends before; WsiError."""
        return self._read(self._tiles, spans, MAX_GAP_BYTES)

    def stream(self, blank: Sequence[Span] = ()) -> BinaryIO:
        """All of the file, by blocks that are kept; for one thread, and no owner of this file.

        blank: bytes that nobody needs; they read as zeros and are not fetched.
        """
        return cast(BinaryIO, _RemoteStream(self._read_header, self.identity.size_bytes, blank))

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._ranges.close()
        self._tiles.clear()
        self._header.clear()

    def _read_header(self, offset: int, size_bytes: int) -> bytes:
        first, last = offset // BLOCK_BYTES, -(-(offset + size_bytes) // BLOCK_BYTES)
        end = self.identity.size_bytes
        blocks = [
            Span(start, min(BLOCK_BYTES, end - start))
            for start in range(first * BLOCK_BYTES, last * BLOCK_BYTES, BLOCK_BYTES)
        ]
        start = offset - first * BLOCK_BYTES
        return b"".join(self._read(self._header, blocks, 0))[start : start + size_bytes]

    def _read(self, kept: "_KeptSpans", spans: Sequence[Span], gap_bytes: int) -> list[memoryview]:
        coming, ours = kept.claim(spans)
        runs = plan_runs(ours, gap_bytes, MAX_RUN_BYTES)
        if len(runs) == 1:
            self._fetch(kept, runs[0], ours)
        else:
            for run in runs:
                self._pool.submit(self._fetch, kept, run, ours)
        return [future.result() for future in coming]

    def _fetch(self, kept: "_KeptSpans", run: Run, spans: Sequence[Span]) -> None:
        try:
            if run.offset + run.size_bytes > self.identity.size_bytes:
                raise ValueError(f"the file ends before byte {run.offset + run.size_bytes}")
            data = self._ranges.fetch(run.offset, run.size_bytes)
            cut_run(data, run, spans, lambda part, view: kept.keep(spans[part], view))
        except BaseException as error:
            for part in run.parts:
                kept.fail(spans[part], error)


class _KeptSpans:
    """Bytes that are there, or are on their way to whoever asked first: of `limit_bytes` the
    ones used last."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._lock = threading.Lock()
        self._spans: OrderedDict[Span, Future[memoryview]] = OrderedDict()
        self._kept_bytes = 0

    def claim(self, spans: Sequence[Span]) -> tuple[list[Future[memoryview]], list[Span]]:
        """What each will be, and those that the caller has to keep() or fail()."""
        with self._lock:
            ours = [span for span in dict.fromkeys(spans) if span not in self._spans]
            for span in ours:
                self._spans[span] = Future()
            for span in spans:
                self._spans.move_to_end(span)
            return [self._spans[span] for span in spans], ours

    def keep(self, span: Span, data: memoryview) -> None:
        own = memoryview(bytes(data))  # not all of the run that it came with
        with self._lock:
            self._kept_bytes += len(own)
            future = self._spans.get(span)
            self._drop_oldest(span)
        if future is not None:
            future.set_result(own)

    def fail(self, span: Span, error: BaseException) -> None:
        """The next one who asks tries again."""
        with self._lock:
            future = self._spans.pop(span, None)
        if future is not None:
            future.set_exception(error)

    def clear(self) -> None:
        with self._lock:
            self._spans.clear()
            self._kept_bytes = 0

    def _drop_oldest(self, but: Span) -> None:
        if self._kept_bytes <= self._limit:
            return
        for span, future in list(self._spans.items()):
            if self._kept_bytes <= self._limit:
                return
            if future.done() and span != but:
                del self._spans[span]
                self._kept_bytes -= span.size_bytes


class _RemoteStream(io.RawIOBase):
    def __init__(
        self, read: Callable[[int, int], bytes], size_bytes: int, blank: Sequence[Span]
    ) -> None:
        self._read_at, self._size, self._at = read, size_bytes, 0
        self._blank = blank

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._size - self._at)
        size = left if size is None or size < 0 else min(size, left)
        start, self._at = self._at, self._at + size
        if not size:
            return b""
        if any(b.offset <= start and start + size <= b.offset + b.size_bytes for b in self._blank):
            return bytes(size)
        return self._read_at(start, size)

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer)).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)
