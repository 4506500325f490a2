"""A slide that is open in a reader process, and looks like any other."""

import os
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import DecoderCrashed, DecoderTimeout
from service.sandbox.description import leave_out_names, parse_slide
from service.sandbox.launcher import Launcher, shared_launcher
from service.sandbox.process import ReaderProcess
from service.sandbox.wire import BadMessage, SandboxLimits, SandboxMode, parse_mode
from wsi.errors import UnsupportedSlide
from wsi.geometry import Box, Size
from wsi.readers.base import BaseSlide
from wsi.readers.resolution import mpp_from_caller
from wsi.slide import SlideInfo

__all__ = ["SandboxedSlide", "open_in_sandbox", "probe_sandbox"]

MAX_READ_BYTES = 128 << 20  # of one answer, and so of the memory that each thread shares
PART_PX = 4096  # as the OpenSlide reader cuts: its parts are rounded to level-0 pixels


class SandboxedSlide(BaseSlide):
    """Reads raise DecoderCrashed or DecoderTimeout besides what a Slide raises; after one of them
    all that follow raise it too, at once."""

    def __init__(self, process: ReaderProcess, info: SlideInfo, mode: SandboxMode) -> None:
        super().__init__(info)
        self._process = process
        self.mode = mode
        self._end = weakref.finalize(self, process.close)

    @property
    def failure(self) -> DecoderCrashed | DecoderTimeout | None:
        """Why no read will succeed any more; None while all is well."""
        return self._process.failure

    @property
    def reader_pid(self) -> int:
        return self._process.pid

    def read_shrunk(self, level: int, box: Box, out: NDArray[np.uint8]) -> None:
        """As the function of that name: in the process, so that only the means come here."""
        self._require_inside(level, box)
        with self._reading():
            self._read_into(level, box, out)

    def _read_inside(self, level: int, box: Box) -> NDArray[np.uint8]:
        out = np.empty((box.height, box.width, 3), np.uint8)
        self._read_into(level, box, out)
        return out

    def _read_into(self, level: int, box: Box, out: NDArray[np.uint8]) -> None:
        cell = Size(box.width // out.shape[1], box.height // out.shape[0])
        for part in _parts(box, cell):
            top, left = (part.y - box.y) // cell.height, (part.x - box.x) // cell.width
            rows, columns = part.height // cell.height, part.width // cell.width
            self._process.read(level, part, out[top : top + rows, left : left + columns])

    def _release(self) -> None:
        self._end()


def open_in_sandbox(
    path: str | Path,
    mpp: float | tuple[float, float] | None = None,
    reader: str = "auto",
    *,
    apply_icc: bool = False,
    limits: SandboxLimits | None = None,
    launcher: Launcher | None = None,
    name: str | None = None,
) -> SandboxedSlide:
    """As wsi.open_slide, of a local file, in a process of its own that is confined as far as this
    system can. This process looks at no byte of the file.

    `name`: what the slide's info and all errors call it, where they must not tell its path.
    Raises what open_slide raises, DecoderCrashed and DecoderTimeout.
    """
    if "://" in str(path):
        raise UnsupportedSlide(
            f"{name or path}: the reader process has no network; copy the slide to a local disk"
        )
    job = _job(str(path), name) | {
        "mpp": mpp_from_caller(mpp),
        "reader": reader,
        "apply_icc": apply_icc,
    }
    limits = limits or SandboxLimits()
    process = ReaderProcess(launcher or shared_launcher(), job, limits)
    try:
        message = process.await_opened()
        try:
            mode = parse_mode(message.body.get("mode"))
            info = parse_slide(message.body.get("slide"), str(path), message.tail or None)
        except BadMessage as error:
            raise process.fail(error, limits.open_timeout_s) from error
        return SandboxedSlide(process, _named(info, name), mode)
    except BaseException:
        process.close()
        raise


def probe_sandbox(launcher: Launcher | None = None) -> SandboxMode:
    """What confines reader processes here, seen from inside one. Starts the fork server, so that
    the first slide need not wait for it. Raises DecoderCrashed, DecoderTimeout."""
    limits = SandboxLimits()
    process = ReaderProcess(launcher or shared_launcher(), _job(None), limits)
    try:
        return parse_mode(process.await_opened().body.get("mode"))
    except BadMessage as error:
        raise process.fail(error, limits.open_timeout_s) from error
    finally:
        process.close()


def _named(info: SlideInfo, name: str | None) -> SlideInfo:
    """`info.files` stays: the slide's identity is made of their bytes."""
    if name is None:
        return info
    warnings = tuple(leave_out_names(each, info.path, name) for each in info.warnings)
    return replace(info, path=name, warnings=warnings)


def _job(path: str | None, name: str | None = None) -> dict[str, Any]:
    """A relative path needs the folder that it starts from."""
    is_relative = path is not None and not os.path.isabs(path)  # noqa: PTH117
    return {"path": path, "name": name, "cwd": str(Path.cwd()) if is_relative else "/"}


def _parts(box: Box, cell: Size) -> Iterator[Box]:
    """Of whole cells; the box itself where it is not too large."""
    if box.width * box.height * 3 <= MAX_READ_BYTES:
        yield box
        return
    width, height = (max(1, PART_PX // side) * side for side in cell)
    for y in range(box.y, box.bottom, height):
        for x in range(box.x, box.right, width):
            yield Box(x, y, width, height).intersection(box)
