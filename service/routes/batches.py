"""`/v1/batches`: many slides with one request."""

import time
from functools import partial

import anyio
from fastapi import Response
from fastapi.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from service.asking import IdempotencyKey
from service.batching import begin_batch
from service.deps import SHARED_FILES, AskedFirst, Parts, Reader, Writer
from service.schemas import BatchJson, BatchRequest
from service.web.answers import NO_STORE
from service.web.openapi import failures
from service.web.routing import Router

__all__ = ["router"]

router = Router(prefix="/v1/batches", tags=["batches"], route_class=AskedFirst)


@router.post("", status_code=202, response_model=BatchJson, responses=failures(422, 507))
async def create_batch(
    body: BatchRequest,
    response: Response,
    service: Parts,
    principal: Writer,
    idempotency_key: IdempotencyKey = None,
) -> BatchJson:
    """Asks for heatmaps of many slides. Sent again with its key after a failure, it goes on.

    Slides in a shared folder are read whole, once, to know them by their bytes. Where that takes
    longer than the operator lets a request wait, the answer is 503: send it again with its key.
    """
    until = time.monotonic() + service.settings.max_wait_s
    begin = partial(begin_batch, service, principal.owner, body, idempotency_key)
    batch_id = await anyio.to_thread.run_sync(
        begin, lambda: time.monotonic() >= until, limiter=SHARED_FILES
    )
    service.watcher.wake()
    batch = service.resources.batch(
        await run_in_threadpool(service.batches.get, principal.tenant, batch_id)
    )
    response.headers["Location"] = batch.links.self
    response.headers["Cache-Control"] = NO_STORE
    return batch


@router.get("/{batch_id}", response_model=BatchJson, responses=failures())
def get_batch(batch_id: str, response: Response, service: Parts, principal: Reader) -> BatchJson:
    """How many of its jobs are in which state."""
    response.headers["Cache-Control"] = NO_STORE
    return service.resources.batch(service.batches.get(principal.tenant, batch_id))


@router.get(
    "/{batch_id}/report.csv",
    response_class=Response,
    responses={
        200: {
            "description": "One line a slide, with the reason where one failed",
            "content": {"text/csv; charset=utf-8": {"schema": {"type": "string"}}},
        },
        **failures(),
    },
)
def get_batch_report(batch_id: str, service: Parts, principal: Reader) -> Response:
    """What became of each slide."""
    lines = service.batches.report(principal.tenant, batch_id)
    return StreamingResponse(
        lines, media_type="text/csv; charset=utf-8", headers={"Cache-Control": NO_STORE}
    )
