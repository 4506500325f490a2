import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.ids import new_id
from service.operations.logs import configure_logs
from service.worker.naming import neutral_name, telling_names
from service.worker.scrubbing import ScrubbingFormatter, scrub_logs

NAME = "Müller, Anna.svs"


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)


@pytest.mark.parametrize("format", ["json", "console"])
def test_name_of_a_slide_is_in_no_line_and_no_trace(root: logging.Logger, format: str):
    stream = io.StringIO()
    configure_logs("INFO", format, stream)
    for formatter in scrub_logs():
        formatter.hide((f"/srv/scans/{NAME}", NAME))

    try:
        raise ValueError(f"/srv/scans/{NAME}: bad tile")
    except ValueError:
        root.exception("cannot read %s", NAME, extra={"job": "job_1"})

    said = stream.getvalue()
    assert "job_1" in said
    assert "the slide" in said
    assert "ller, Anna" not in said


def test_names_of_the_job_before_are_forgotten():
    formatter = ScrubbingFormatter(logging.Formatter())
    formatter.hide(("first",))
    formatter.hide(("second",))

    record = logging.LogRecord("x", logging.INFO, "", 0, "first and second", None, None)

    assert formatter.format(record) == "first and (the slide)"


def test_own_names_of_the_server_tell_nothing():
    slide_id = new_id("sld")
    assert telling_names(Path("/d/slides/x/slide.svs")) == ("/d/slides/x/slide.svs",)
    assert telling_names(Path(f"/d/slides/{slide_id}")) == (f"/d/slides/{slide_id}",)
    assert telling_names(Path("/srv/Anna.svs")) == ("/srv/Anna.svs", "Anna.svs", "Anna")


@pytest.mark.parametrize(
    ("given", "named"), [("Anna.SVS", "slide.svs"), ("a.b.tiff", "slide.tiff"), ("x.anna", "slide")]
)
def test_slide_is_named_by_its_kind_alone(given: str, named: str):
    assert neutral_name(Path(given)) == named
