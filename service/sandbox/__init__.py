"""Slides that came from outside are opened in disposable reader processes.

A hostile or damaged file can end the process that decodes it; here that is a process which holds
nothing else, and cannot reach anything. `docs/adr/0006-reader-process.md` says what confines it.

    wire          frames of JSON; limits and modes
    description   SlideInfo as JSON, with a strict parser
    landlock, seccomp, confinement     the locks
    child         the reader process
    zygote        the fork server that it comes from
    memory, launcher, process, slide   the parent's side
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "Launcher": "launcher",
    "SandboxLimits": "wire",
    "SandboxMode": "wire",
    "SandboxedSlide": "slide",
    "open_in_sandbox": "slide",
    "probe_sandbox": "slide",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"service.sandbox.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'service.sandbox' has no attribute {name!r}")
