"""What clients say they like."""

import pytest

from service.web.negotiation import choose_type, wait_preferred

OFFERED = ("application/json", "image/png", "image/tiff")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, "application/json"),
        ("", "application/json"),
        ("*/*", "application/json"),
        ("image/png", "image/png"),
        ("IMAGE/PNG", "image/png"),
        ("image/*", "image/png"),
        ("image/png;q=0.5, image/tiff", "image/tiff"),
        ("image/png;q=0.5, image/tiff; q=0.4", "image/png"),
        ("image/*, application/json;q=0.9", "image/png"),
        ("*/*;q=0.1, image/tiff;q=0.2", "image/tiff"),
        ("*/*, image/tiff", "image/tiff"),  # of equal ones the more specific
        ("application/json;q=0, */*", "image/png"),  # the most specific decides, whatever its q
        ("image/png;level=1", "image/png"),
        ("video/mp4", None),
        ("image/png;q=0", None),
        ("nonsense", None),
        ("text/html, application/xhtml+xml, */*;q=0.8", "application/json"),
    ],
)
def test_type_with_the_greatest_weight_is_chosen(accept: str | None, chosen: str | None) -> None:
    assert choose_type(accept, OFFERED) == chosen


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ([], None),
        (["wait=60"], 60),
        (["respond-async, wait=10"], 10),
        (["respond-async", "wait=10"], 10),
        (['Wait="7"'], 7),
        (["wait = 5; foo=bar"], 5),
        (["wait=1, wait=2"], 1),
        (["wait=-1"], None),
        (["wait=soon"], None),
        (["waiting=5"], None),
    ],
)
def test_seconds_of_wait_are_read(fields: list[str], seconds: int | None) -> None:
    assert wait_preferred(fields) == seconds
