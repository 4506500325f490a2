"""`/livez`, `/readyz`: for whatever watches over the process."""

from fastapi import Response

from service.deps import Parts
from service.operations.health import check_all
from service.problems import problem
from service.schemas import Problem, Readiness
from service.web.answers import NO_STORE, ProblemAnswer
from service.web.routing import Router

__all__ = ["router"]

router = Router(tags=["health"])


@router.get(
    "/livez",
    response_class=Response,
    responses={200: {"description": "The loop answers", "content": {"text/plain": {}}}},
)
async def livez() -> Response:
    """Alive: restart the process where nothing answers here."""
    return Response("ok\n", media_type="text/plain", headers={"Cache-Control": NO_STORE})


@router.get(
    "/readyz",
    response_model=Readiness,
    responses={
        503: {
            "description": "Not ready: `checks` says why",
            "content": {
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
            },
        }
    },
)
def readyz(service: Parts, response: Response) -> Response | Readiness:
    """Ready: the database answers, the data folder can be written and has room, and a worker
    lives."""
    found = Readiness(ready=True, checks=check_all(service))
    response.headers["Cache-Control"] = NO_STORE
    wrong = [check for check in found.checks if not check.ok]
    if not wrong:
        return found
    body = problem(
        "not-ready",
        "; ".join(f"{check.name}: {check.detail}" for check in wrong),
        checks=[check.model_dump() for check in found.checks],
    )
    return ProblemAnswer.from_problem(Problem(**body).model_dump(exclude_none=True))
