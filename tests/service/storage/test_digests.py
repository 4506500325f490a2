"""The sha-256 that a client states."""

import base64
import hashlib

import pytest

from service.errors import InvalidRequest
from service.storage.digests import sha256_from_digests

HELLO = hashlib.sha256(b"hello").hexdigest()
FIELD = "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:"


def test_the_sha256_is_found_beside_other_algorithms():
    assert sha256_from_digests([FIELD, None]) == HELLO
    assert (
        sha256_from_digests([f"sha-512=:{base64.b64encode(b'x' * 64).decode()}:, {FIELD}"]) == HELLO
    )
    assert sha256_from_digests([FIELD, FIELD]) == HELLO


@pytest.mark.parametrize("fields", [[], [None], [""], ["md5=:AAAA:"]])
def test_no_sha256_is_none(fields: list[str | None]):
    assert sha256_from_digests(fields) is None


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ("sha-256=abc", "cannot be read"),
        ("sha-256=:AAAA:", "3 bytes, not 32"),
        ("sha-256=:A:", "no base64"),
        ("nonsense", "cannot be read"),
        (f"{FIELD}, sha-256=:{base64.b64encode(b'x' * 32).decode()}:", "different sha-256"),
    ],
)
def test_a_field_that_is_no_digest_is_refused(field: str, reason: str):
    with pytest.raises(InvalidRequest, match=reason):
        sha256_from_digests([field])
