"""The clock that limits of requests are counted by."""

from types import SimpleNamespace

import pytest


@pytest.fixture
def half_past(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands at 30 s of a minute: limits begin anew with each minute of the wall clock."""
    clock = SimpleNamespace(time=lambda: 30_000_000 * 60 + 30.0)
    monkeypatch.setattr("limits.storage.memory.time", clock)
    monkeypatch.setattr("limits.strategies.time", clock)
    monkeypatch.setattr("service.access.limits.time", clock.time)
