"""What the commands print: text or JSON on stdout, progress on a terminal's stderr."""

import json
import sys
from collections.abc import Callable
from typing import Any, Self

import typer

__all__ = ["TerminalProgress", "counted", "print_json", "say", "warn"]


def say(text: str) -> None:
    typer.echo(text)


def warn(text: str) -> None:
    typer.echo(f"warning: {text}", err=True)


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, allow_nan=False, default=str))


class TerminalProgress:
    """Progress bars with rate and time left; nothing where stderr is no terminal."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._shown = not quiet and sys.stderr.isatty()
        self._bars: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if self._shown:
            self._bars = _bars()
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._bars:
            if kind is None:
                self._end_stage()
            self._bars.stop()

    def start(self, stage: str, total: int) -> None:
        if self._bars:
            self._end_stage()
            self._task = self._bars.add_task(stage, total=total or None, rate="")

    def advance(self, done: int) -> None:
        if self._bars and self._task is not None:
            self._bars.advance(self._task, done)
            speed = self._bars.tasks[self._task].speed
            self._bars.update(
                self._task, rate=f"{speed:,.{0 if speed > 9 else 2}f}/s" if speed else ""
            )

    def _end_stage(self) -> None:
        """A stage whose work was not counted is done when the next one begins."""
        if self._task is not None and self._bars.tasks[self._task].total is None:
            self._bars.update(self._task, total=1, completed=1)

    def should_stop(self) -> bool:
        return False


def counted(stage: str, progress: TerminalProgress) -> Callable[[int, int], None]:
    """Progress out of calls with (done, all)."""
    seen = 0

    def report(done: int, total: int) -> None:
        nonlocal seen
        if not seen:
            progress.start(stage, total)
        progress.advance(done - seen)
        seen = done

    return report


def _bars() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description:<9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:>9}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
