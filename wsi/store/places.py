"""Where something is to be written: looked at before the work, not after it."""

import os
from collections.abc import Iterable
from pathlib import Path

from wsi.errors import InvalidOption, ResultExists
from wsi.store.folder import PARTIAL

__all__ = ["require_file_place", "require_folder_place"]


def require_file_place(
    path: Path,
    *,
    option: str = "--out",
    overwrite: bool = True,
    inputs: Iterable[str | Path] = (),
) -> None:
    """Whether a file may be written at `path`, to take the place of one only where `overwrite` is.

    inputs: what the work reads; a name or an address that is no file here is passed over. option:
    what the sentence tells to change. Raises InvalidOption where the place is a folder, no ordinary
    file or an input, or its folder cannot be; ResultExists.
    """
    if path.name:
        _require_short(path.name, require_folder_place(path.parent, option=option), option)
    if not path.name or path.is_dir():
        raise InvalidOption(f"{path} is a folder; give a file's name as {option}")
    if not os.path.lexists(path):
        return
    if not path.is_file():
        raise InvalidOption(f"{path}: it is no ordinary file; use another {option}")
    if read := next((one for one in inputs if _is_same(path, Path(one))), None):
        raise InvalidOption(
            f"{path}: {read} is read for it, and would be lost; use another {option}"
        )
    if not overwrite:
        raise ResultExists(f"{path}: it is there; use --overwrite, or another {option}")


def require_folder_place(path: Path, *, option: str = "--out") -> Path:
    """Whether files may be written below the folder, which may be missing; that of it or around it
    which is there. Raises InvalidOption.
    """
    there = path.absolute()
    missing: list[str] = []
    while not os.path.lexists(there):
        missing.append(there.name)
        there = there.parent
    if not there.is_dir():
        raise InvalidOption(f"{there}: a file is where a folder is needed; use another {option}")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InvalidOption(
            f"{there}: it may not be written to; use another {option}, or ask for the right to it"
        )
    for name in missing:
        _require_short(name, there, option)
    return there


def _require_short(name: str, there: Path, option: str) -> None:
    """With what is added to it while it is written."""
    length, longest = len(os.fsencode(name + PARTIAL)), os.statvfs(there).f_namemax
    if length > longest:
        raise InvalidOption(
            f"{name:.40}…: a name of {length - len(PARTIAL)} bytes, and {there} takes "
            f"{longest - len(PARTIAL)}; use a shorter {option}"
        )


def _is_same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except (OSError, ValueError):
        return False
