"""Paths that clients name: only below folders that the operator shares, wherever links lead."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from service.errors import InvalidRequest, NotFound

__all__ = ["resolve_below"]

MISSING = "no such slide below the folders that this server shares"


def resolve_below(roots: Sequence[Path], path: str) -> Path:
    """The real path of something that exists below a root.

    `path` is absolute, or relative to a root; the first root that has it counts. What lies outside
    is never looked at, so that nobody learns what is there. Raises InvalidRequest; NotFound, also
    where a link leads out.
    """
    asked = PurePosixPath(path)
    if not roots:
        raise InvalidRequest("this server shares no folder of slides; send the slide itself")
    if "\0" in path or ".." in asked.parts or not asked.parts:
        raise InvalidRequest("a path with .. or without a name; name a slide below a shared folder")
    for root in roots:
        found = _resolve(root, asked)
        if found is not None:
            return found
    raise NotFound(MISSING)


def _resolve(root: Path, asked: PurePosixPath) -> Path | None:
    real_root = root.resolve()
    absolute = Path(root.absolute(), asked)
    if not any(absolute.is_relative_to(top) for top in (root.absolute(), real_root)):
        return None
    try:
        found = absolute.resolve(strict=True)
    except (OSError, RuntimeError):  # missing, a name too long, links in a circle
        return None
    return found if found.is_relative_to(real_root) and found != real_root else None
