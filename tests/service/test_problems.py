"""Every error has an answer, and no answer says too much."""

import errno
import inspect

import pytest
from sqlalchemy.exc import DataError, OperationalError

import models.errors
import service.errors
import wsi.errors
from service.problems import PROBLEMS, SLUGS, Refusal, problem_of, public_sentence, slug_of

ERRORS = [
    error
    for module in (wsi.errors, models.errors, service.errors)
    for _, error in inspect.getmembers(module, inspect.isclass)
    if issubclass(error, Exception)
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_has_a_problem(error: type[Exception]) -> None:
    assert slug_of(error("what, its value, the way out")) in PROBLEMS


@pytest.mark.parametrize("slug", sorted(set(SLUGS.values())))
def test_every_slug_of_an_error_is_in_the_table(slug: str) -> None:
    assert 400 <= PROBLEMS[slug].status < 600
    assert slug == slug.lower()


def test_nearest_base_counts() -> None:
    class Odd(wsi.errors.CorruptSlide):
        pass

    assert slug_of(Odd("x")) == "corrupt-slide"
    assert slug_of(service.errors.QueueFull("x")) == "queue-full"


@pytest.mark.parametrize(
    ("error", "slug", "status"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/srv/wsi/a"), "no-space", 507),
        (PermissionError(errno.EACCES, "Permission denied", "/srv/a"), "internal-error", 500),
        (OperationalError("SELECT secret", {}, Exception("locked")), "busy", 503),
        (DataError("SELECT secret", {}, Exception("NUL")), "invalid-request", 400),
        (KeyError("secret"), "internal-error", 500),
        (wsi.errors.StoreIncomplete("/srv/wsi/results/res_1: secret"), "internal-error", 500),
        (Refusal("not-acceptable", "accept image/png"), "not-acceptable", 406),
    ],
)
def test_what_is_no_clients_business_is_not_told(error: Exception, slug: str, status: int) -> None:
    found = problem_of(error)
    assert (found["type"], found["status"]) == (f"/problems/{slug}", status)
    assert "/srv" not in str(found)
    assert "secret" not in str(found)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/srv/wsi/slides/sld_1/slide.svs: level 2 is damaged", "a file of the server: level 2 …"),
        ("cannot read '/srv/wsi/a.tif' (end)", "cannot read 'a file of the server' (end)"),
        ("/srv/Doe, John 1953.svs: level 2 is damaged", "a file of the server: level 2 …"),
        ("no access: '/srv/Doe, John' (13)", "no access: 'a file of the server' (13)"),
        ('no access: "/srv/O\'Neil, J.x" (13)', 'no access: "a file of the server" (13)'),
        ("ask '/v1/jobs' for slide.tiff", "ask '/v1/jobs' for slide.tiff"),
        ("use 0.05 to 60 um/px", "use 0.05 to 60 um/px"),
        ("see /v1/jobs/job_1", "see /v1/jobs/job_1"),
        ("tile 3/4 of image/tiff", "tile 3/4 of image/tiff"),
        ("curl http://host/v1/heatmaps", "curl http://host/v1/heatmaps"),
    ],
)
def test_paths_of_the_server_are_taken_out(text: str, shown: str) -> None:
    found = public_sentence(text)
    assert found == shown.replace("…", "is damaged")


def test_what_must_not_be_shown_is_replaced() -> None:
    error = wsi.errors.CorruptSlide("/data/Jane Doe.svs: level 2 is damaged")
    found = problem_of(error, {"/data/Jane Doe.svs": "the slide", "/data": "the folder"})
    assert found["detail"] == "the slide: level 2 is damaged"


def test_a_long_message_takes_no_time_of_the_server() -> None:
    """Texts of a hostile file: none of its paths ends, and each may be one to the end."""
    assert public_sentence("/a 'x " * 5000) == "/a 'x " * 5000
