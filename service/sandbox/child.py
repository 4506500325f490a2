"""The reader process: shuts the door, opens one slide, and answers reads until it is ended."""

import math
import mmap
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from service.sandbox.confinement import GATE_BYTES, confine, start_decoding
from service.sandbox.description import clean_text, describe_slide
from service.sandbox.wire import MAX_TAIL_BYTES, Message, SandboxLimits, receive, send
from wsi.errors import CorruptSlide, UnsupportedSlide, WsiError
from wsi.geometry import Box, Mpp
from wsi.readers import open_source
from wsi.readers.base import read_shrunk
from wsi.readers.gate import Source, check_header
from wsi.slide import Slide

__all__ = ["Opener", "run", "serve"]

Opener = Callable[[Source, Mpp | None, str, bool], Slide]
OUT_OF_MEMORY, FAILED = "MemoryError", "Exception"


def run(control: socket.socket, job: dict[str, Any]) -> None:
    serve(control, job, _open)


def serve(control: socket.socket, job: dict[str, Any], opener: Opener) -> None:
    """Answers on `control` with the mode and the slide's description or an error, then serves what
    comes there: sockets, on each of which boxes are asked for one after the other.

    A job without a path is answered with the mode alone.
    """
    os.chdir(job["cwd"])
    path = job["path"]
    limits = SandboxLimits(**job["limits"])
    mode = confine(limits, _surroundings(path), job["parent"], netns=job["netns"]).to_json()
    if path is None:
        send(control, {"mode": mode})
        return
    try:
        slide = _open_narrowed(job, opener)
        profile = _profile(slide)
    except Exception as error:  # all that the parent can know of it is what is sent now
        send(control, {"mode": mode, **_error_body(error)})
        return
    send(control, {"mode": mode, "slide": describe_slide(slide.info)}, profile or b"")
    _serve_sockets(control, slide)


def _open(source: Source, mpp: Mpp | None, reader: str, apply_icc: bool) -> Slide:
    return open_source(source, mpp, reader, apply_icc=apply_icc)


def _open_narrowed(job: dict[str, Any], opener: Opener) -> Slide:
    """The gate, which is Python, may look at the slide's neighbours; decoders may not."""
    source = _check_header(job["path"])
    # OpenSlide looks for the other files of a DICOM series in their folder
    folders = {file.parent for file in source.files} if source.kind == "dicom" else set()
    start_decoding(source.files, folders)
    mpp = Mpp(*job["mpp"]) if job["mpp"] else None
    return opener(source, mpp, job["reader"], job["apply_icc"])


def _check_header(path: str) -> Source:
    try:
        return check_header(path)
    except Exception as error:
        if not _is_out_of_memory(error):
            raise
        raise CorruptSlide(
            f"{path}: its header wants more than {GATE_BYTES >> 20} MiB of memory, and no slide's "
            "does; copy it again from its source"
        ) from None


def _surroundings(path: str | None) -> list[Path]:
    """The file, which may be a link to elsewhere, and the folder where its other files are."""
    return [] if path is None else [Path(path), Path(path).parent]


def _profile(slide: Slide) -> bytes | None:
    profile = slide.info.icc_profile
    if profile is not None and len(profile) > MAX_TAIL_BYTES:
        raise UnsupportedSlide(
            f"{slide.info.path}: an ICC profile of {len(profile) >> 20} MiB "
            f"(limit {MAX_TAIL_BYTES >> 20}); save the slide without it"
        )
    return profile


def _serve_sockets(control: socket.socket, slide: Slide) -> None:
    while True:
        try:
            message = receive(control, max_fds=1)
        except EOFError:
            return
        for fd in message.fds:
            ours = socket.socket(fileno=fd)
            threading.Thread(target=_serve_reads, args=(ours, slide), daemon=True).start()


def _serve_reads(ours: socket.socket, slide: Slide) -> None:
    memory: mmap.mmap | None = None
    with ours:
        while True:
            try:
                message = receive(ours, max_fds=1)
            except EOFError:
                return
            for fd in message.fds:
                memory = _map(fd)
            send(ours, _answer(message, memory, slide))


def _map(fd: int) -> mmap.mmap | None:
    """None where the memory limit forbids it."""
    try:
        return mmap.mmap(fd, 0)
    except (OSError, MemoryError):
        return None
    finally:
        os.close(fd)


def _answer(message: Message, memory: mmap.mmap | None, slide: Slide) -> dict[str, Any]:
    request = message.body
    try:
        if memory is None:
            raise MemoryError
        shape = tuple(request["shape"])
        room = np.frombuffer(memory, np.uint8, math.prod(shape)).reshape(shape)
        read_shrunk(slide, request["level"], Box(*request["box"]), room)
    except Exception as error:  # as in serve()
        return {"id": request["id"], **_error_body(error)}
    return {"id": request["id"], "shape": room.shape, "bytes": room.nbytes}


def _error_body(error: Exception) -> dict[str, str]:
    if _is_out_of_memory(error):
        return {"error": OUT_OF_MEMORY, "message": ""}
    if isinstance(error, WsiError):
        return {"error": type(error).__name__, "message": clean_text(str(error))}
    return {"error": FAILED, "message": clean_text(f"{type(error).__name__}: {error}")}


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Readers turn whatever a decoder raises into a WsiError, too little memory as well."""
    while error is not None and not isinstance(error, MemoryError):
        error = error.__cause__
    return error is not None
