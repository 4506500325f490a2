"""Where the stored bytes of tiles come from: a local file, or whatever else has `read_spans`."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from wsi.readers.tiffplan import Run, Span, plan_runs

__all__ = ["LocalFile", "StoredFile", "cut_run"]


class StoredFile(Protocol):
    """Safe from several threads."""

    def read_spans(self, spans: Sequence[Span]) -> list[memoryview]:
        """The bytes of each, in their order. ValueError where the file ends before."""
        ...

    def close(self) -> None: ...


class LocalFile:
    """Reads at a place without a file position, so threads need not take turns."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read_spans(self, spans: Sequence[Span]) -> list[memoryview]:
        stored = [memoryview(b"")] * len(spans)
        for run in plan_runs(spans):
            data = os.pread(self._descriptor, run.size_bytes, run.offset)
            cut_run(data, run, spans, stored.__setitem__)
        return stored

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def cut_run(
    data: bytes, run: Run, spans: Sequence[Span], take: Callable[[int, memoryview], object]
) -> None:
    """Gives `take` the place in `spans` and the bytes of each that the run holds: `data`."""
    if len(data) < run.size_bytes:
        raise ValueError(f"the file ends before byte {run.offset + run.size_bytes}")
    view = memoryview(data)
    for part in run.parts:
        start = spans[part].offset - run.offset
        take(part, view[start : start + spans[part].size_bytes])
