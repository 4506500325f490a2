"""What an error means for a job: the problem that its owner reads, and whether to try again."""

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import ModelError
from service.errors import NoSpace, ServiceError
from service.jobs.job import LONGEST_RETRY_S
from service.problems import problem, problem_of
from service.worker.naming import LEAST_LETTERS, neutral_name
from wsi.errors import StoreLocked, WsiError

__all__ = ["Failure", "failure_of", "lost_runner", "retry_delay_s"]

ONCE_MORE = frozenset({"decoder-crashed", "decoder-timeout"})
"""A hostile slide would do it again; a busy machine perhaps not."""

AGAIN = frozenset({"gpu-unavailable", "internal-error", "model-changed", "worker-lost"})
"""What another time, another worker, or a fresh process may mend."""

RETRY_S = 5.0
"""Before the second attempt; each further one waits twice as long, up to LONGEST_RETRY_S."""


@dataclass(frozen=True)
class Failure:
    problem: dict[str, Any]
    is_foreseen: bool  # False: the process that met it is not to be trusted any more
    is_held: bool = False  # another process writes the result still

    @property
    def slug(self) -> str:
        return str(self.problem["type"]).rpartition("/")[2]


def failure_of(error: BaseException, slide: Path, folder: Path) -> Failure:
    """The problem names neither the slide's file nor a path of the server."""
    names = (slide.name, neutral_name(slide) if slide.suffix else "")
    shown = [str(slide), *(name for name in names if len(name) >= LEAST_LETTERS)]
    hide = {**dict.fromkeys(shown, "the slide"), str(folder.parent): "the results"}
    if _is_disk_full(error):
        full = NoSpace("the disk of the results is full; make room, then send the job again")
        return Failure(problem_of(full) | {"detail": str(full)}, is_foreseen=True)
    foreseen = isinstance(error, (WsiError, ModelError, ServiceError))
    return Failure(problem_of(error, hide), foreseen, isinstance(error, StoreLocked))


def lost_runner(why: str) -> Failure:
    """Its process ended under the job: killed, out of memory, or crashed."""
    return Failure(problem("worker-lost", f"The process that did the job ended: {why}."), False)


def retry_delay_s(failure: Failure, attempt: int, first_s: float = RETRY_S) -> float | None:
    """Seconds until the next attempt; None where the failure is for good. `attempt` counts from 1.

    That the attempts are used up is the queue's to know.
    """
    if failure.slug in AGAIN or (failure.slug in ONCE_MORE and attempt == 1):
        return min(LONGEST_RETRY_S, float(first_s * 2 ** (attempt - 1)))
    return None


def _is_disk_full(error: BaseException) -> bool:
    full = (errno.ENOSPC, errno.EDQUOT)
    return any(isinstance(e, NoSpace) or getattr(e, "errno", None) in full for e in _chain(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
