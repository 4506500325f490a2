"""Shutting the door: what a reader process gives up for good before it looks at a slide.

Each lock stands alone where the kernel lacks another. None can be opened again from inside.
"""

import ctypes
import os
import resource
import signal
import struct
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from service.sandbox.landlock import restrict_files
from service.sandbox.seccomp import shut_system_calls
from service.sandbox.wire import SandboxLimits, SandboxMode

__all__ = ["GATE_BYTES", "confine", "leave_network", "start_decoding"]

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 4, 38
CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWIPC = 0x10000000, 0x40000000, 0x08000000
CAPABILITY_VERSION = 0x20080522
OOM_FIRST = "1000"
GATE_BYTES = 256 << 20
"""What reading a header may take; those of the largest slides take a fifth of it."""
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")
PACKAGES = Path(__file__).resolve().parents[2]

IS_LINUX = sys.platform == "linux"


def leave_network() -> bool:
    """Into a user and a network namespace with nothing in it; False where that is not permitted.

    The process must have a single thread. Those that it forks are in there too.
    """
    if not IS_LINUX:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC) == 0)


def confine(
    limits: SandboxLimits, readable: Iterable[Path], parent: int, *, netns: bool
) -> SandboxMode:
    """Shuts all locks that this system has. `parent`: the process whose death ends this one.

    Until start_decoding(), all that is `readable` can be read, and there are only GATE_BYTES of
    memory. Raises OSError.
    """
    if not IS_LINUX:
        return SandboxMode(landlock=False, seccomp=False, netns=netns, rlimits=_try_limits(limits))
    _die_first_when_memory_is_short()
    _set_limits(limits)
    _drop_capabilities()
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    _prctl(PR_SET_DUMPABLE, 0)
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before it could be watched
        os._exit(1)
    landlock = restrict_files([*_python_paths(), *readable])
    seccomp = shut_system_calls()
    return SandboxMode(landlock=landlock, seccomp=seccomp, netns=netns, rlimits=True)


def start_decoding(files: Iterable[Path], folders: Iterable[Path]) -> None:
    """Leaves of what was readable only the slide's own `files`; `folders` can still be listed.
    The memory is that of the limits."""
    if IS_LINUX:
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        restrict_files([*_python_paths(), *files], folders)


def _try_limits(limits: SandboxLimits) -> bool:
    """Other systems refuse some of them."""
    with suppress(OSError, ValueError):
        _set_limits(limits)
        return True
    return False


def _set_limits(limits: SandboxLimits) -> None:
    """No limit of processes: it counts all of the user's, on the whole machine; seccomp forbids
    new ones, and memory bounds threads."""
    values = {
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
    }
    for what, value in values.items():
        limit = _within_hard(what, value)
        resource.setrlimit(what, (limit, limit))
    most = _within_hard(resource.RLIMIT_AS, limits.memory_bytes)
    resource.setrlimit(resource.RLIMIT_AS, (min(_address_space() + GATE_BYTES, most), most))
    cpu_s = _within_hard(resource.RLIMIT_CPU, limits.cpu_s)
    last_s = _within_hard(resource.RLIMIT_CPU, cpu_s + 1)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, last_s))  # SIGXCPU tells, SIGKILL is sure


def _address_space() -> int:
    """Bytes that this process has mapped; 0.5 GiB, a little more than it has, where none says."""
    with suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
        return pages * resource.getpagesize()
    return 512 << 20


def _within_hard(what: int, value: int) -> int:
    _, hard = resource.getrlimit(what)
    return value if hard == resource.RLIM_INFINITY else min(value, hard)


def _drop_capabilities() -> None:
    """Root's, and those that a new user namespace gives."""
    header = struct.pack("=Ii", CAPABILITY_VERSION, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capset(header, bytes(24)) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def _die_first_when_memory_is_short() -> None:
    with suppress(OSError):  # not on Linux, or /proc is not there
        Path("/proc/self/oom_score_adj").write_text(OOM_FIRST, "ascii")


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def _python_paths() -> list[Path]:
    """Where modules and shared libraries are that may still be loaded. Of a working tree of this
    project only the package is one: the operator's data may lie beside it."""
    found = {Path(entry) for entry in sys.path if entry} - {PACKAGES}
    return [*sorted(found), PACKAGES / "wsi", *map(Path, LIBRARIES)]
