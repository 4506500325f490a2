"""Memory that parent and reader process share: the parent makes it, the child fills it."""

import fcntl
import mmap
import os
import sys
import tempfile

__all__ = ["create_memory", "round_up"]

IS_LINUX = sys.platform == "linux"
SMALLEST = 256 << 10  # bytes; a tile of 256 px takes 192 KiB


def round_up(size_bytes: int) -> int:
    """To a power of two, so that a few growing requests do not each make new memory."""
    return max(SMALLEST, 1 << (size_bytes - 1).bit_length())


def create_memory(size_bytes: int) -> tuple[int, mmap.mmap]:
    """Descriptor, which the caller closes, and mapping; has no name, and is gone with its users.

    Its size is sealed: a child that made it shorter would end the parent with SIGBUS.
    """
    fd = _open_nameless()
    try:
        os.ftruncate(fd, size_bytes)
        if IS_LINUX:
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
        return fd, mmap.mmap(fd, size_bytes)
    except BaseException:
        os.close(fd)
        raise


def _open_nameless() -> int:
    if IS_LINUX:
        return os.memfd_create("wsi-pixels", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
