"""A result's folder as the queue records it, and how it goes away."""

import hashlib
import shutil
from pathlib import Path

from service.jobs.job import Job, NewResult
from service.results import MANIFEST, RUN, ResultFolder
from service.storage.removal import remove
from wsi.errors import StoreLocked
from wsi.store.journal import FolderLock

__all__ = ["describe_result", "discard", "is_held"]


def describe_result(job: Job, folder: Path) -> NewResult:
    """What the queue records of a complete folder."""
    result = ResultFolder(folder)
    outputs = (result.manifest() or {}).get("outputs", {})
    records = sum((folder / name).stat().st_size for name in (MANIFEST, RUN))
    return NewResult(
        id=job.result_id,
        slide_id=job.slide_id,
        work_key=job.work_key,
        size_bytes=records + sum(entry["size_bytes"] for entry in outputs.values()),
        manifest_sha256=hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest(),
    )


def is_held(folder: Path) -> bool:
    """Whether another process writes this result."""
    partial = ResultFolder(folder).partial
    if not partial.exists():
        return False
    try:
        FolderLock(partial).close()
    except StoreLocked:
        return True
    return False


def discard(folder: Path, *, unfinished_only: bool = False) -> bool:
    """Removes a result, complete or not; with `unfinished_only` what is not published. False where
    another process is writing it: it stays."""
    partial = ResultFolder(folder).partial
    if not partial.exists() and (unfinished_only or not folder.exists()):
        return True
    try:
        with FolderLock(partial):
            if not unfinished_only:
                remove(folder)
            shutil.rmtree(partial, ignore_errors=True)
    except StoreLocked:
        return False
    return True
