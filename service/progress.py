"""How a long piece of work says where it is, and asks whether to go on."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from service.errors import Stopped

__all__ = ["Progress", "Silent", "StageClock"]


class Progress(Protocol):
    """What a pipeline reports to: a terminal, a job, or nobody."""

    def start(self, stage: str, total: int) -> None:
        """A stage begins; `total` units of work, 0 where unknown."""

    def advance(self, done: int) -> None:
        """So many more units are done."""

    def should_stop(self) -> bool:
        """Whether somebody cancelled: what is written stays, and the next run goes on there."""
        ...


class Silent:
    """Nobody listens."""

    def start(self, stage: str, total: int) -> None: ...

    def advance(self, done: int) -> None: ...

    def should_stop(self) -> bool:
        return False


class StageClock:
    """Seconds a stage, beside the progress that it passes on. Stopped where a stage would begin
    after somebody cancelled."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, total: int = 0) -> Iterator[None]:
        if self.progress.should_stop():
            raise Stopped(f"stopped before the stage {name}; the next run goes on where it was")
        self.progress.start(name, total)
        begun = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - begun
            self.seconds[name] = self.seconds.get(name, 0.0) + spent
