"""What a client would like: the Accept field of RFC 9110, the Prefer field of RFC 7240."""

import re
from collections.abc import Sequence

__all__ = ["choose_type", "wait_preferred"]

QUALITY = re.compile(r"q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)", re.IGNORECASE)
WAIT = re.compile(r"\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?:;.*)?", re.IGNORECASE)


def choose_type(accept: str | None, offered: Sequence[str]) -> str | None:
    """The offered media type with the greatest q; of equal ones the more specific, then the first.

    None where the client takes none of them; the first where it does not say.
    """
    if accept is None or not accept.strip():
        return offered[0]
    ranges = [_parse(part) for part in accept.split(",") if part.strip()]
    best, best_rank = None, (0.0, 0)
    for media_type in offered:
        rank = _rank(media_type, ranges)
        if rank[0] > 0 and rank > best_rank:
            best, best_rank = media_type, rank
    return best


def wait_preferred(prefer: Sequence[str]) -> int | None:
    """Seconds of the first `wait` among the Prefer fields."""
    parts = (part for field in prefer for part in field.split(","))
    found = next((match for part in parts if (match := WAIT.fullmatch(part))), None)
    return int(found.group(1)) if found else None


def _parse(part: str) -> tuple[str, float]:
    name, *parameters = part.split(";")
    match = next((m for p in parameters if (m := QUALITY.fullmatch(p.strip()))), None)
    return name.strip().lower(), float(match.group(1)) if match else 1.0


def _rank(media_type: str, ranges: Sequence[tuple[str, float]]) -> tuple[float, int]:
    """q and how specific: the most specific range that fits decides, whatever its q."""
    patterns = (media_type, media_type.partition("/")[0] + "/*", "*/*")
    for specificity, pattern in zip((3, 2, 1), patterns, strict=True):
        for name, quality in ranges:
            if name == pattern:
                return quality, specificity
    return 0.0, 0
