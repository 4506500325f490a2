"""From a request to a job in the queue."""

from typing import Annotated

from fastapi import Header
from fastapi.concurrency import run_in_threadpool

from service.access.auth import Owner
from service.catalogue import Offered
from service.deps import Service
from service.jobs import Snapshot
from service.schemas import BatchRequest, JobRequest
from service.storage.library import StoredSlide
from service.submission import Asked, submission
from wsi import __version__

__all__ = ["IdempotencyKey", "asked_from_params", "submit"]

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="The same key with the same request: the same job, however often it is sent",
    ),
]


def asked_from_params(body: JobRequest | BatchRequest, idempotency_key: str | None = None) -> Asked:
    params = body.params
    return Asked(
        mpp=params.mpp,
        stride_px=params.stride,
        window=params.window,
        mask=params.mask,
        min_tissue=params.min_tissue,
        upsample=params.upsample,
        icc=params.icc,
        tta=params.tta,
        outputs=tuple(body.outputs),
        priority=body.priority,
        idempotency_key=idempotency_key,
    )


async def submit(
    service: Service,
    slide: StoredSlide,
    offered: Offered,
    asked: Asked,
    key_id: str | None,
) -> Snapshot:
    """The job that stands for the work, as it is now. Wakes who listens."""
    snapshot = await run_in_threadpool(submit_now, service, slide, offered, asked, key_id)
    service.watcher.wake()
    return snapshot


def submit_now(
    service: Service,
    slide: StoredSlide,
    offered: Offered,
    asked: Asked,
    key_id: str | None,
    batch_id: str | None = None,
) -> Snapshot:
    """submit(), for a thread. Raises InvalidOption, QueueFull, IdempotencyMismatch, QuotaExceeded,
    NotFound.

    Work that is done already is answered to those, too, whose quota is used up.
    """
    new = submission(
        slide.tenant,
        slide.id,
        slide.sha256,
        offered.card,
        offered.address,
        asked,
        version=__version__,
        precision=service.settings.precision,
        batch_id=batch_id,
        key_id=key_id,
    )
    if service.shelf.find(new.tenant, new.work_key) is None:
        service.library.quota.require_some(Owner(new.tenant, key_id))
    job = service.queue.submit(new).job
    return Snapshot(job, service.queue.position(job))
