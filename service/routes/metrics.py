"""`/metrics` for Prometheus. Labels never hold ids; with authentication on, a key is needed."""

from fastapi import Request
from starlette.responses import Response

from service.deps import Parts, Reader
from service.jobs import JobState
from service.operations.metrics import CONTENT_TYPE_LATEST, Metrics
from service.web.answers import NO_STORE
from service.web.openapi import failures
from service.web.routing import Router

__all__ = ["router"]

router = Router(tags=["health"])

ALIVE_WITHIN_LEASES = 2
SHOWN = (JobState.QUEUED, JobState.RUNNING)
"""Ended jobs are counted nowhere here: they are many, and how many are kept says little."""


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"description": "Prometheus text format", "content": {"text/plain": {}}},
        **failures(),
    },
)
def get_metrics(request: Request, service: Parts, _reader: Reader) -> Response:
    """Counts and times by route, jobs that wait and run, workers."""
    metrics: Metrics = request.app.state.metrics
    depth = {state.value: count for state, count in service.queue.depth(states=SHOWN).items()}
    alive = service.queue.workers(ALIVE_WITHIN_LEASES * service.settings.lease_s)
    return Response(
        metrics.text(depth, len(alive)),
        headers={"Cache-Control": NO_STORE},
        media_type=CONTENT_TYPE_LATEST,
    )
