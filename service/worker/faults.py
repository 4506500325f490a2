"""Places where a test may end the process; nothing happens at them otherwise.

A test hands its own function to Supervisor or serve(); no setting, option or environment variable
does, so that what runs in earnest cannot.
"""

from collections.abc import Callable

__all__ = ["FAULT_POINTS", "Fault", "no_fault"]

Fault = Callable[[str], None]
"""Called with the name of a point whenever it is passed."""

FAULT_POINTS = {
    "after-claim": "supervisor",
    "after-shard": "runner",
    "before-rename": "runner",
    "after-rename": "runner",
    "before-commit": "supervisor",
    "after-commit": "supervisor",
}
"""Name to the process that passes it."""


def no_fault(point: str) -> None:
    pass
