"""Many slides with one request: found, let in, and asked for one by one."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from service.access.auth import Owner
from service.asking import asked_from_params, submit_now
from service.batches import Member
from service.deps import Service
from service.errors import InvalidRequest, QueueFull, ServiceError
from service.jobs import JobState
from service.problems import problem_of
from service.schemas import MAX_BATCH, BatchRequest
from service.storage.library import Library, StoredSlide
from service.storage.roots import resolve_below
from service.submission import require_valid
from wsi.errors import WsiError

__all__ = ["begin_batch", "files_below"]

Found = tuple[str | None, Callable[[], StoredSlide]]
"""The name by which a pattern found a slide, and how to get it."""


def begin_batch(service: Service, owner: Owner, body: BatchRequest, key: str | None) -> str:
    """The id of a batch whose jobs are in the queue. The same key: goes on where it ended.

    A file that is no slide is a line in the report; a slide id that does not exist refuses all.
    Raises NotFound, InvalidRequest, InvalidOption, UnknownModel, QueueFull, IdempotencyMismatch,
    QuotaExceeded.
    """
    tenant = owner.tenant
    offered, asked = service.catalogue.get(body.model), asked_from_params(body)
    require_valid(asked, offered.card)
    slides = list(_find(service, tenant, body))
    _require_room(service, tenant, len(slides))
    digest = hashlib.sha256(body.model_dump_json().encode()).hexdigest()
    batch_id = service.batches.begin(tenant, digest, key)
    done = service.batches.numbers(batch_id)
    for number, (name, get) in enumerate(slides):
        if number in done:
            continue
        try:
            slide = get()
        except (WsiError, ServiceError) as error:  # a failure is a line of the report
            reason = problem_of(error)
            service.batches.add(batch_id, Member(number, name, error=reason))
            continue
        job = submit_now(service, slide, offered, asked, owner.key_id, batch_id).job
        service.batches.add(batch_id, Member(number, name, slide.id, job.id))
    return batch_id


def files_below(roots: Sequence[Path], root: str, pattern: str, limit: int) -> list[Path]:
    """Files in a shared folder, or in one below it, that match a glob, in the order of names.

    Raises InvalidRequest, NotFound; what a link leads to elsewhere is left out.
    """
    asked = PurePosixPath(pattern)
    if asked.is_absolute() or ".." in asked.parts or "\0" in pattern:
        raise InvalidRequest("glob: use a pattern like **/*.svs, relative to root and without ..")
    folder = _folder(roots, root)
    found = []
    for path in sorted(folder.glob(pattern)):
        if path.is_file() and path.resolve().is_relative_to(folder):
            found.append(path)
        if len(found) > limit:
            raise InvalidRequest(f"more than {limit} files match; use a narrower pattern")
    if not found:
        raise InvalidRequest("no file below that folder matches the pattern")
    return found


def _folder(roots: Sequence[Path], root: str) -> Path:
    shared = next((base for base in roots if Path(root) in (base, base.resolve())), None)
    folder = shared.resolve() if shared is not None else resolve_below(roots, root)
    if not folder.is_dir():
        raise InvalidRequest("root is a file; name the folder that it is in")
    return folder


def _find(service: Service, tenant: str, body: BatchRequest) -> Iterator[Found]:
    library = service.library
    if body.slides is not None:
        for slide_id in body.slides:
            library.get(tenant, slide_id)
            yield None, partial(library.get, tenant, slide_id)
        return
    assert body.root is not None
    assert body.glob is not None
    roots = service.settings.slide_roots
    folder = _folder(roots, body.root)
    for path in files_below(roots, body.root, body.glob, MAX_BATCH):
        name = path.relative_to(folder).as_posix()
        yield name, partial(_add_path, library, tenant, path)


def _add_path(library: Library, tenant: str, path: Path) -> StoredSlide:
    return library.add_path(tenant, str(path)).slide


def _require_room(service: Service, tenant: str, count: int) -> None:
    """Before the first job: half a batch helps nobody."""
    queued = service.queue.depth(tenant, [JobState.QUEUED])[JobState.QUEUED]
    limit = service.settings.max_queued_per_tenant
    if queued + count > limit:
        raise QueueFull(f"{queued} jobs of yours wait; {count} more are over the limit of {limit}")
