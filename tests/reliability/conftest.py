"""What the reliability tests found stands at the end of pytest's output."""

from pathlib import Path

import pytest

from tests.reliability.report import LINES

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test here that has one of the two marks has both, so that `make check-full` runs it, and
    runs it once."""
    for item in items:
        marks = [item.get_closest_marker(name) for name in ("slow", "reliability")]
        if HERE in item.path.parents and any(marks):
            item.add_marker("slow")
            item.add_marker("reliability")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if LINES:
        terminalreporter.section("reliability")
    for line in LINES:
        terminalreporter.write_line(line)
