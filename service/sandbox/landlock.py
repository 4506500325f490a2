"""Landlock: which files a process may still read. https://docs.kernel.org/userspace-api/landlock"""

import ctypes
import os
import stat
import struct
from collections.abc import Iterable
from pathlib import Path

__all__ = ["landlock_abi", "restrict_files"]

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same on every architecture
VERSION = 1
PATH_BENEATH = 1
READ_FILE, READ_DIR = 1 << 2, 1 << 3
RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""Version of the interface to the number of its rights, all of which are taken."""
TCP = 0b11  # bind and connect
SCOPES = 0b11  # abstract Unix sockets and signals outside


def landlock_abi() -> int:
    """Version of the kernel's interface; 0 where it has none, or none is enabled."""
    if os.uname().sysname != "Linux":
        return 0
    return max(0, int(_libc().syscall(CREATE_RULESET, None, ctypes.c_size_t(0), VERSION)))


def restrict_files(readable: Iterable[Path], listable: Iterable[Path] = ()) -> bool:
    """From now on only `readable` (files, or folders with all in them) can be read, and only
    `listable` folders be listed, by this thread and those that it starts.

    Nothing can be written, made or removed; TCP and signals to other processes end too where the
    kernel knows how. A second call narrows the first. False where there is no Landlock. The process
    must have no_new_privs. Raises OSError.
    """
    abi = landlock_abi()
    if abi == 0:
        return False
    ruleset = _create_ruleset(abi)
    try:
        for path in readable:
            _allow(ruleset, path, READ_FILE | READ_DIR)
        for folder in listable:
            _allow(ruleset, folder, READ_DIR)
        _check(_libc().syscall(RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)
    return True


def _create_ruleset(abi: int) -> int:
    rights = (1 << RIGHTS[min(abi, 5)]) - 1
    words = [rights, TCP if abi >= 4 else None, SCOPES if abi >= 6 else None]
    attributes = b"".join(struct.pack("=Q", word) for word in words if word is not None)
    return _check(_libc().syscall(CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0))


def _allow(ruleset: int, path: Path, rights: int) -> None:
    """A path that cannot be opened needs no rule."""
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (OSError, ValueError):
        return
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= ~READ_DIR  # the kernel refuses a folder's right on a file
        rule = struct.pack("=Qi", rights, fd)
        _check(_libc().syscall(ADD_RULE, ruleset, PATH_BENEATH, rule, 0))
    finally:
        os.close(fd)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"Landlock: {os.strerror(code)}")
    return result
