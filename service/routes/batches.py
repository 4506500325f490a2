"""`/v1/batches`: many slides with one request."""

from fastapi import Response
from fastapi.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from service.asking import IdempotencyKey
from service.batching import begin_batch
from service.deps import AskedFirst, Parts, Reader, Writer
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
    """Asks for heatmaps of many slides. Sent again with its key after a failure, it goes on."""
    batch_id = await run_in_threadpool(begin_batch, service, principal.owner, body, idempotency_key)
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
