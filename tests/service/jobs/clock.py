"""A clock that a test moves."""

from dataclasses import dataclass

START = 1_800_000_000.0


@dataclass
class FakeClock:
    """Unix seconds; each reading is 2 ms later, so that no two ids are of the same moment."""

    now: float = START

    def __call__(self) -> float:
        self.now += 0.002
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds
