"""What a client says about its bytes: the sha-256 of Content-Digest or Repr-Digest (RFC 9530)."""

import base64
import binascii
import re
from collections.abc import Iterable

from service.errors import InvalidRequest

__all__ = ["sha256_from_digests"]

MEMBER = re.compile(r"\s*([a-z*][a-z0-9_.*-]*)\s*=\s*:([A-Za-z0-9+/=]*):\s*(?:;[^,]*)?$")


def sha256_from_digests(fields: Iterable[str | None]) -> str | None:
    """Hex of the sha-256 that Content-Digest and Repr-Digest fields name; None where none does.

    Other algorithms are passed over, as RFC 9530 wants it. Raises InvalidRequest where a field is
    no digest, or two contradict each other.
    """
    found = {digest for field in fields if field for digest in _sha256_of_field(field)}
    if len(found) > 1:
        raise InvalidRequest("Content-Digest and Repr-Digest name different sha-256; send one")
    return found.pop() if found else None


def _sha256_of_field(field: str) -> list[str]:
    members = [MEMBER.match(member) for member in field.split(",")]
    if not all(members):
        raise InvalidRequest(
            "the digest field cannot be read; write sha-256=:<base64>: as RFC 9530 has it"
        )
    return [_hex(m.group(2)) for m in members if m and m.group(1) == "sha-256"]


def _hex(value: str) -> str:
    try:
        digest = base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise InvalidRequest("the sha-256 of the digest field is no base64") from error
    if len(digest) != 32:
        raise InvalidRequest(f"the sha-256 of the digest field has {len(digest)} bytes, not 32")
    return digest.hex()
