"""What is said of a slide's address, and what is not."""

import pytest

from wsi.address import check_address, hide_secrets, public_path, public_url, query_sha256
from wsi.errors import SlideNotFound
from wsi.slide import slide_name

MALFORMED = [
    "https://[bad/x.svs",
    "https://host:abc/x.svs",
    "https://host:99999/x.svs",
    "https:///x.svs",
    "https://user:se#cret@host/x.svs",
    "https://se#cret@host/x.svs",
    "https://user:12#cret@host/x.svs",
    "https://user:se/cret@host/x.svs",
    "https://user:se?cret@host/x.svs",
    "https://us[er:secret@host/x.svs",
    "s3://AKIA:se/cret@bucket/x.svs",
    "no scheme://user:secret@host/x.svs",
]


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("https://user:word@host:8443/a/b.svs?sig=x#part", "https://host:8443/a/b.svs"),
        ("s3://AKIA:SECRET@bucket/a%20b.svs", "s3://bucket/a%20b.svs"),
        ("simplecache::s3://AKIA:SECRET@bucket/b.svs", "simplecache::s3://bucket/b.svs"),
        ("https://[::1]:8000/b.svs", "https://[::1]:8000/b.svs"),
    ],
)
def test_an_address_loses_its_credentials(url: str, public: str):
    check_address(url)
    assert public_url(url) == public


@pytest.mark.parametrize("url", MALFORMED)
def test_a_malformed_address_is_refused_in_a_sentence_without_its_password(url: str):
    with pytest.raises(SlideNotFound, match="the address is malformed") as caught:
        check_address(url)
    for part in ("cret", "user", "AKIA", "12", "abc", "bad"):
        assert part not in str(caught.value).partition(": the address")[0]


@pytest.mark.parametrize("url", MALFORMED)
def test_a_malformed_address_has_a_public_form_and_a_name(url: str):
    for text in (public_path(url), slide_name(url)):
        assert text
        assert "cret" not in text


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://user:pw@host/?file=x.svs", "host"),
        ("https://user:pw@host/a/x.svs?signature=s/t", "x.svs"),
        ("https://host/a/", "a"),
        ("https://host/a/..", "a"),
        ("slides/a?b.svs", "a?b.svs"),
    ],
)
def test_a_slide_is_called_by_the_last_part_of_its_address(address: str, name: str):
    assert slide_name(address) == name


@pytest.mark.parametrize(
    ("url", "said", "hidden"),
    [
        (
            "s3://AKIA:SECRET@bucket/x.svs",
            'Invalid bucket name "AKIA:SECRET@bucket"',
            'Invalid bucket name "…@bucket"',
        ),
        ("https://u:a%2Fbc%3Dd@h/x", "no such host: a/bc=d", "no such host: …"),
        (
            "https://u:a@h/x",
            "https://u:a@h/x: a password is back",
            "https://h/x: … password is back",
        ),
        ("https://h/x?signature=abcdef", "GET /x?signature=abcdef failed", "GET /x?… failed"),
        ("slides/x.svs", "slides/x.svs: it is no slide", "slides/x.svs: it is no slide"),
    ],
)
def test_a_librarys_sentence_loses_them_too(url: str, said: str, hidden: str):
    assert hide_secrets(said, url) == hidden


SIGNATURES = (
    "X-Amz-Signature=1&X-Amz-Expires=2&x-amz-security-token=3",
    "X-Goog-Signature=1&X-Goog-Date=2",
    "sv=2022&sr=b&sp=r&se=2026-11-02&sig=abc",
    "Expires=1&Signature=2&Key-Pair-Id=3&Policy=4",
    "AWSAccessKeyId=1&Signature=2&Expires=3",
    "token=abc",
    "",
)


@pytest.mark.parametrize("signature", SIGNATURES)
def test_a_signature_is_no_part_of_what_a_query_says(signature: str):
    assert query_sha256(f"https://host/x?{signature}") is None
    assert query_sha256(f"https://host/x?id=1&{signature}") == query_sha256("https://host/x?id=1")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://host/x?id=1", "https://host/x?id=2"),
        ("https://host/x?slide1", "https://host/x?slide2"),
        ("https://host/x?sp=1", "https://host/x?sp=2"),  # no `sig`: no signature of Azure
        ("https://host/x?id=%ff", "https://host/x?id=%fe"),
        ("s3://bucket/a#1.svs", "s3://bucket/a#2.svs"),
        ("s3://bucket/a.svs?versionId=1", "s3://bucket/a.svs?versionId=2"),
    ],
)
def test_what_a_query_says_tells_two_slides_apart(one: str, other: str):
    assert None not in (query_sha256(one), query_sha256(other))
    assert query_sha256(one) != query_sha256(other)


def test_the_order_of_a_query_says_nothing():
    assert query_sha256("https://h/x?a=1&b=2") == query_sha256("https://h/x?b=2&a=1")
