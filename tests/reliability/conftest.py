"""What the reliability tests found stands at the end of pytest's output."""

import pytest

from tests.reliability.report import LINES


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if LINES:
        terminalreporter.section("reliability")
    for line in LINES:
        terminalreporter.write_line(line)
