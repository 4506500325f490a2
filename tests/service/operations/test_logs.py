"""Logs of the service."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from service.operations.logs import configure_logs
from service.web.middleware import REQUEST_ID


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logs("INFO", "json", stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_line_is_json_with_its_ids(lines: io.StringIO) -> None:
    token = REQUEST_ID.set("r1")
    logging.getLogger("service.worker").info("claimed %d", 1, extra={"job": "job_1"})
    REQUEST_ID.reset(token)
    line = json.loads(lines.getvalue())
    assert line["event"] == "claimed 1"
    assert (line["job"], line["request"], line["level"]) == ("job_1", "r1", "info")
    assert line["logger"] == "service.worker"
    assert line["timestamp"].endswith("Z")


def test_an_error_brings_its_traceback_in_the_same_line(lines: io.StringIO) -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("x").exception("failed")
    (line,) = lines.getvalue().splitlines()
    assert json.loads(line)["exception"][0]["exc_type"] == "ValueError"


def test_locals_of_a_traceback_are_left_out(lines: io.StringIO) -> None:
    """They would hold keys, names and pixels."""
    secret = "wsi_" + "s3cret"
    try:
        raise ValueError(len(secret))
    except ValueError:
        logging.getLogger("x").exception("failed")
    assert "s3cret" not in lines.getvalue()


def test_lines_of_the_server_are_said_once(lines: io.StringIO) -> None:
    logging.getLogger("uvicorn.error").info("up", extra={"color_message": "\x1b[1mup"})
    assert "color_message" not in lines.getvalue()
