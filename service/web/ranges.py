"""One part of a file: the Range field of RFC 9110, a single range of bytes."""

import re

__all__ = ["parse_range"]

RANGE = re.compile(r"bytes\s*=\s*(\d{0,19})\s*-\s*(\d{0,19})\s*", re.IGNORECASE)


def parse_range(field: str, size: int) -> tuple[int, int] | None:
    """(start, stop) within `size` bytes; None where the whole is to be sent.

    That is where the field has another unit, several ranges or no sense: RFC 9110 14.2 lets a
    server pass over it. Raises ValueError where no byte of the file is in the range (416).
    """
    match = RANGE.fullmatch(field.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        return _suffix(int(last), size)
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= size:
        raise ValueError(f"the file has {size} bytes")
    return start, min(int(last) + 1 if last else size, size)


def _suffix(length: int, size: int) -> tuple[int, int]:
    if length == 0 or size == 0:
        raise ValueError(f"the file has {size} bytes")
    return max(size - length, 0), size
