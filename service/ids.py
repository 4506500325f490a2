"""Ids that the server makes: a prefix and a ULID, so that they sort by the time they were made."""

import os
import time

__all__ = ["ID_PATTERN", "PREFIXES", "new_id"]

PREFIXES = ("sld", "job", "res", "upl", "bat", "key")

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32, as ULID wants it

ID_PATTERN = rf"^({'|'.join(PREFIXES)})_[0-7][{ALPHABET}]{{25}}$"


def new_id(prefix: str, now_s: float | None = None) -> str:
    """`prefix`_ULID: 48 bits of milliseconds, 80 random bits; for example sld_01JD…"""
    assert prefix in PREFIXES, prefix
    milliseconds = int((time.time() if now_s is None else now_s) * 1000)
    number = (milliseconds << 80) | int.from_bytes(os.urandom(10))
    return f"{prefix}_{''.join(ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))}"
