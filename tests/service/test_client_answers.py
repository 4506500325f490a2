"""What the client makes of answers that come late, never, or from something else."""

from typing import Any

import httpx
import pytest

from service.client import ApiError, Client


@pytest.mark.parametrize(
    ("answers_before", "expected"), [(1, [0.5, 1, 2, 4, 8, 10, 10, 10, 10]), (0, [0.5, 1])]
)
def test_patience_is_longer_with_a_service_that_has_answered(
    answers_before: int, expected: list[float]
) -> None:
    pauses: list[float] = []
    answers = [httpx.Response(404)] * answers_before
    client = make_client(answers, sleep=pauses.append, patience_s=60)
    for _ in range(answers_before):
        with pytest.raises(ApiError):
            client.job("job_none")
    with pytest.raises(httpx.ConnectError):
        client.job("job_none")
    assert pauses == expected


def test_it_waits_as_long_as_the_service_asks() -> None:
    pauses: list[float] = []
    answers = [
        httpx.Response(404),
        httpx.Response(429, headers={"Retry-After": "7"}),
        httpx.Response(503, headers={"Retry-After": "soon"}),
        httpx.Response(404),
    ]
    client = make_client(answers, sleep=pauses.append, patience_s=60)
    for _ in range(2):
        with pytest.raises(ApiError, match="answered 404"):
            client.job("job_none")
    assert pauses == [7, 1]


def make_client(answers: list[httpx.Response], **options: Any) -> Client:
    """Of a service that gives these answers, and then is gone."""

    def answer(request: httpx.Request) -> httpx.Response:
        if not answers:
            raise httpx.ConnectError("no route")
        return answers.pop(0)

    return Client("http://a.test", transport=httpx.MockTransport(answer), **options)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>Log in"),
        httpx.Response(302, headers={"Location": "https://login.example/"}),
        httpx.Response(404, text="nothing here"),
    ],
)
def test_something_else_at_that_address_is_named(answer: httpx.Response) -> None:
    client = make_client([answer])
    with pytest.raises(ApiError, match=r"http://a\.test/v1/jobs/x answered .* check base_url"):
        client.job("x")


def test_address_without_a_scheme_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"'localhost:8000'.*http://"):
        Client("localhost:8000")
