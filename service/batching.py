"""Many slides with one request: found, let in, and asked for one by one."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from service.access.auth import Owner
from service.asking import asked_from_params, submit_now
from service.batches import Member
from service.deps import Service
from service.errors import Busy, InvalidRequest, NotFound, QueueFull, ServiceError
from service.jobs import JobState
from service.problems import problem_of
from service.schemas import MAX_BATCH, BatchRequest
from service.storage.library import Library, StoredSlide
from service.storage.roots import resolve_below
from service.submission import require_valid
from wsi.errors import WsiError

__all__ = ["begin_batch", "files_below"]


class Found(NamedTuple):
    name: str | None  # by which a pattern found the slide
    get: Callable[[], StoredSlide]


def begin_batch(
    service: Service,
    owner: Owner,
    body: BatchRequest,
    key: str | None,
    is_over: Callable[[], bool] = lambda: False,
) -> str:
    """The id of a batch whose jobs are in the queue. The same key: goes on where it ended.

    A file that is no slide is a line in the report; a slide id that does not exist refuses all.
    `is_over`: whether the time is over; at least one slide is taken care of before.
    Raises NotFound, InvalidRequest, InvalidOption, UnknownModel, QueueFull, IdempotencyMismatch,
    QuotaExceeded, Busy (the time is over).
    """
    tenant = owner.tenant
    offered, asked = service.catalogue.get(body.model), asked_from_params(body)
    require_valid(asked, offered.card)
    found = list(_find(service, tenant, body))
    digest = hashlib.sha256(body.model_dump_json().encode()).hexdigest()
    batch_id = service.batches.find(tenant, digest, key)
    left = _left(found, service.batches.names(batch_id) if batch_id else {})
    _require_room(service, tenant, len(left))
    batch_id = batch_id or service.batches.begin(tenant, digest, key)
    for done, (number, (name, get)) in enumerate(left):
        if done and is_over():
            raise Busy(_explain_rest(len(found), len(left) - done))
        member = Member(number, name)
        try:
            slide = get()
        except Busy:  # the service is being shut down: the same request goes on here
            raise
        except (WsiError, ServiceError, OSError) as error:  # a failure is a line of the report
            service.batches.add(batch_id, replace(member, error=problem_of(error)))
            continue
        try:
            job = submit_now(service, slide, offered, asked, owner.key_id, batch_id).job
        except NotFound as error:  # it was deleted just now
            service.batches.add(batch_id, replace(member, error=problem_of(error)))
            continue
        service.batches.add(batch_id, replace(member, slide_id=slide.id, job_id=job.id))
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
    for path in sorted(_glob(folder, pattern)):
        if path.is_file() and path.resolve().is_relative_to(folder):
            found.append(path)
        if len(found) > limit:
            raise InvalidRequest(f"more than {limit} files match; use a narrower pattern")
    if not found:
        raise InvalidRequest("no file below that folder matches the pattern")
    return found


def _glob(folder: Path, pattern: str) -> list[Path]:
    try:
        return list(folder.glob(pattern))
    except (ValueError, IndexError, NotImplementedError) as error:  # as **a, and . before 3.13
        raise InvalidRequest("glob: no pattern; use one like **/*.svs, relative to root") from error


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
            yield Found(None, partial(library.get, tenant, slide_id))
        return
    assert body.root is not None
    assert body.glob is not None
    roots = service.settings.slide_roots
    folder = _folder(roots, body.root)
    for path in files_below(roots, body.root, body.glob, MAX_BATCH):
        name = path.relative_to(folder).as_posix()
        yield Found(name, partial(_add_path, library, tenant, path))


def _add_path(library: Library, tenant: str, path: Path) -> StoredSlide:
    return library.add_path(tenant, str(path)).slide


def _left(found: Sequence[Found], taken: Mapping[int, str | None]) -> list[tuple[int, Found]]:
    """What is not taken care of yet, with its number. A file goes by its name: since the first
    request others may have come into the folder."""
    names, free = {*taken.values()} - {None}, (n for n in count() if n not in taken)
    if any(each.name is None for each in found):
        return [pair for pair in enumerate(found) if pair[0] not in taken]
    return [(next(free), each) for each in found if each.name not in names]


def _explain_rest(all_: int, left: int) -> str:
    return (
        f"{all_ - left} of {all_} slides are in; send the request again with an Idempotency-Key, "
        "the same each time: it goes on where it ended"
    )


def _require_room(service: Service, tenant: str, count: int) -> None:
    """Before the first job: half a batch helps nobody."""
    queued = service.queue.depth(tenant, [JobState.QUEUED])[JobState.QUEUED]
    limit = service.settings.max_queued_per_tenant
    if queued + count > limit:
        raise QueueFull(f"{queued} jobs of yours wait; {count} more are over the limit of {limit}")
