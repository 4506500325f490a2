"""Whose turn it is: between tenants by what they have, within a tenant by priority and age.

The tenant with the fewest jobs that run goes first; of equal ones that which waited longest since
its last job began, then that whose oldest job waits longest. So a tenant with thousands of jobs, or
with high priorities, delays another one's next job by one of its own for each worker, not by all.
"""

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["MOST_RUNNING", "Turn", "jobs_ahead"]

MOST_RUNNING = 100
"""Of one tenant are counted: with more workers than that, those that have as many take turns."""


class Turn(NamedTuple):
    """A tenant that has jobs to be claimed. Its order: that in which tenants are served."""

    running: int  # with a lease that lasts, at most MOST_RUNNING
    served_at: float  # when the last one began; 0 where none has
    oldest: str  # id
    waiting: int = 0  # jobs that may be claimed


def jobs_ahead(turns: Mapping[str, Turn], tenant: str, before: int) -> int:
    """How many jobs would be claimed before one that has `before` of its own tenant's ahead, if
    none came or ended meanwhile. turns: those of all tenants that have jobs to be claimed."""
    mine = turns.get(tenant, Turn(0, 0, ""))
    others = (turn for name, turn in turns.items() if name != tenant)
    return before + sum(_ahead(other, mine, mine.running + before) for other in others)


def _ahead(other: Turn, mine: Turn, running: int) -> int:
    """How many of another tenant's go first, where ours will have so many running by then.

    Those that bring it up to as many go first; and one more, if it comes before us among equals:
    who had as many from the start has waited longer than who was just served.
    """
    first = (-other.running, *other[1:3]) < (-mine.running, *mine[1:3])
    return min(max(running - other.running + first, 0), other.waiting)
