"""Logs of the service: one JSON object a line, with the ids of request, job, slide and worker.

Below the command line everything logs through `logging`; structlog formats it here. A line holds
what the code put into it: ids that the server made, never a client's file name, header or body.
"""

import logging
import sys
from typing import Any, TextIO

import structlog

from service.web.middleware import REQUEST_ID

__all__ = ["configure_logs"]

QUIET = ("tifffile", "PIL", "matplotlib", "aiosqlite", "alembic", "uvicorn.access")
"""uvicorn's own access log repeats what the metrics count, and holds tile tokens in its URLs."""


def configure_logs(level: str = "INFO", format: str = "json", stream: TextIO | None = None) -> None:
    """For a process of the service. level: of `logging`; format: json, or console for a person."""
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        _add_request,
        _leave_out_colours,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    last: list[Any] = (
        [_tracebacks(), structlog.processors.JSONRenderer()]
        if format == "json"
        else [structlog.dev.ConsoleRenderer(colors=False)]
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in ("uvicorn", "uvicorn.error"):  # uvicorn brings handlers of its own
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True


def _tracebacks() -> Any:
    """Without the values of variables: they would hold keys, names and pixels."""
    transform = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return structlog.processors.ExceptionRenderer(transform)


def _leave_out_colours(_logger: Any, _method: str, event: Any) -> Any:
    """uvicorn says each line twice, the second time for a terminal."""
    event.pop("color_message", None)
    return event


def _add_request(_logger: Any, _method: str, event: Any) -> Any:
    if REQUEST_ID.get():
        event.setdefault("request", REQUEST_ID.get())
    return event
