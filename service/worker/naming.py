"""Names of slides that may be written down, and those that may not: they are often a patient's."""

import re
from pathlib import Path

from service.ids import ID_PATTERN

__all__ = ["LEAST_LETTERS", "neutral_name", "telling_names"]

SUFFIXES = frozenset((
    *(".bif", ".dcm", ".jpeg", ".jpg", ".mrxs", ".ndpi", ".png"),
    *(".scn", ".svs", ".svslide", ".tif", ".tiff", ".vms", ".vmu"),
))  # fmt: skip


LEAST_LETTERS = 4
"""A shorter name stands in too many words to be taken out of them."""


def neutral_name(path: Path) -> str:
    """`slide`, with the ending where it is one that slides have."""
    suffix = path.suffix.lower()
    return f"slide{suffix if suffix in SUFFIXES else ''}"


def telling_names(path: Path) -> tuple[str, ...]:
    """What logs leave out: the path, and the file's name unless the server gave it."""
    if path.name == neutral_name(path) or re.match(ID_PATTERN, path.name):
        return (str(path),)
    names = (path.name, path.stem)
    return (str(path), *(name for name in names if len(name) >= LEAST_LETTERS))
