"""`/v1/jobs`: what was asked for, and where it stands."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Header, Query, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import EventSourceResponse, ServerSentEvent

from service.asking import IdempotencyKey, asked_from_params, submit
from service.deps import AskedFirst, Cursor, Limit, Parts, Reader, Service, Writer
from service.jobs import Job, JobState, Snapshot
from service.schemas import JobJson, JobPage, JobRequest
from service.storage.shelf import RESULTS
from service.watcher import Watch
from service.web.answers import NO_STORE, head_only
from service.web.openapi import failures
from service.web.routing import Router
from service.worker.folder import discard

__all__ = ["router"]

router = Router(prefix="/v1/jobs", tags=["jobs"], route_class=AskedFirst)

Wait = Annotated[
    float | None,
    Query(ge=0, le=86400, allow_inf_nan=False, description="Seconds to wait for the final state"),
]


@router.post(
    "",
    status_code=202,
    response_model=JobJson,
    responses=failures(422, 507),
)
async def create_job(
    body: JobRequest,
    response: Response,
    service: Parts,
    principal: Writer,
    idempotency_key: IdempotencyKey = None,
) -> JobJson:
    """Asks for a heatmap of a slide that is on the server. Equal work that was done before is
    answered at once, with `cached`."""
    offered = service.catalogue.get(body.model)
    asked = asked_from_params(body, idempotency_key)
    slide = await run_in_threadpool(service.library.get, principal.tenant, body.slide_id)
    snapshot = await submit(service, slide, offered, asked, principal.key_id)
    job = service.resources.job(snapshot)
    response.headers["Location"] = job.links.self
    response.headers["Cache-Control"] = NO_STORE
    return job


@router.get("", response_model=JobPage, responses=failures())
def list_jobs(
    response: Response,
    service: Parts,
    principal: Reader,
    limit: Limit = 50,
    cursor: Cursor = None,
    state: JobState | None = None,
    batch_id: Annotated[str | None, Query(max_length=30)] = None,
) -> JobPage:
    """The newest first."""
    found = service.queue.page(
        principal.tenant, limit=limit + 1, before=cursor, state=state, batch_id=batch_id
    )
    now = service.queue.snapshot([job.id for job in found[:limit]])
    items = [service.resources.job(now.get(job.id, Snapshot(job, None))) for job in found[:limit]]
    response.headers["Cache-Control"] = NO_STORE
    return JobPage(items=items, next_cursor=items[-1].id if len(found) > limit else None)


def snapshot_of(job_id: str, service: Parts, principal: Reader) -> Snapshot:
    job = service.queue.get(principal.tenant, job_id)
    return Snapshot(job, service.queue.position(job))


Found = Annotated[Snapshot, Depends(snapshot_of)]


async def watch_of(found: Found, service: Parts) -> AsyncIterator[Watch]:
    """Listening ends with the request: a generator that nobody reads any more ends some time."""
    async with service.watcher.watching(found) as watch:
        yield watch


Watched = Annotated[Watch, Depends(watch_of)]


@router.get("/{job_id}", response_model=JobJson, responses=failures())
async def get_job(found: Found, response: Response, service: Parts, wait: Wait = None) -> JobJson:
    """As it is now, or with `wait` once it is final or the time is over."""
    response.headers["Cache-Control"] = NO_STORE
    if wait and not found.job.state.is_final:
        timeout_s = min(wait, service.settings.max_wait_s)
        found = await service.watcher.wait_final(found.job, timeout_s)
    return service.resources.job(found)


@router.get(
    "/{job_id}/events",
    response_class=EventSourceResponse,
    responses={
        200: {
            "description": "Events `progress` and `state` with the job as data; ends after the "
            "final state. `id` increases: send it as Last-Event-ID to go on after it",
            "content": {
                "text/event-stream": {
                    "example": 'event: state\ndata: {"state":"succeeded"}\nid: 17637120\n\n',
                }
            },
        },
        **failures(),
    },
)
async def follow_job(
    service: Parts,
    watch: Watched,
    last_event_id: Annotated[str | None, Header(max_length=40)] = None,
) -> AsyncIterator[ServerSentEvent]:
    """The job's progress as server-sent events; a comment every 15 s keeps the connection."""
    told = int(last_event_id) if last_event_id and last_event_id.isdecimal() else 0
    before: Snapshot | None = None
    while True:
        now = watch.latest
        number = event_number(now)
        if number > told or now.job.state.is_final or (before and now != before):
            told = max(number, told + 1) if before else max(number, told)
            yield event_of(service, before, now, told)
        before = now
        if now.job.state.is_final or watch.is_closed:
            return
        await watch.changed()


@router.head("/{job_id}/events", include_in_schema=False)
def head_events(_found: Found) -> Response:
    """That the job is there; GET has the events."""
    return head_only({"Cache-Control": NO_STORE}, "text/event-stream")


def event_number(snapshot: Snapshot) -> int:
    """When the job last changed, in microseconds: it increases over restarts too."""
    return int(snapshot.job.updated_at * 1e6)


def event_of(
    service: Service, before: Snapshot | None, now: Snapshot, number: int
) -> ServerSentEvent:
    is_progress = before is not None and before.job.state is now.job.state
    job = service.resources.job(now)
    return ServerSentEvent(data=job, event="progress" if is_progress else "state", id=str(number))


def cancel(service: Service, tenant: str, job_id: str) -> Job:
    """What earlier attempts left goes with a job that nobody works on: who does takes it away."""
    job = service.queue.cancel(tenant, job_id)
    if job.state is JobState.CANCELLED:
        discard(service.settings.data / RESULTS / job.result_id)
    return job


@router.post("/{job_id}/cancel", status_code=202, response_model=JobJson, responses=failures(409))
async def cancel_job(job_id: str, response: Response, service: Parts, principal: Writer) -> JobJson:
    """A queued job ends at once, a running one within seconds. 409 where it is final already."""
    job = await run_in_threadpool(cancel, service, principal.tenant, job_id)
    service.watcher.wake()
    response.headers["Cache-Control"] = NO_STORE
    return service.resources.job(Snapshot(job, None))
