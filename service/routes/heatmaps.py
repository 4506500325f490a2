"""`POST /v1/heatmaps`: a slide in, a heatmap out."""

from functools import partial
from typing import Annotated

from fastapi import Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.access.auth import Owner
from service.asking import IdempotencyKey, submit
from service.catalogue import Offered
from service.deps import Parts, Service, Writer
from service.jobs import Job, JobState, Snapshot
from service.problems import Refusal, problem
from service.routes.pictures import WHOLE_PICTURES
from service.routes.result_tiles import DEFAULT_PX
from service.schemas import JobJson, Model, Mpp, ResultJson, StridePx
from service.storage.artefacts import ZARR
from service.storage.library import StoredSlide
from service.submission import Asked, require_valid
from service.web.answers import NO_STORE, ProblemAnswer
from service.web.bodies import RAW_BODIES, UNLIMITED, media_type_of, open_form, receive_slide
from service.web.deliveries import GeoJson, deliver_file
from service.web.negotiation import choose_type, wait_preferred
from service.web.openapi import failures
from service.web.routing import Router
from wsi.render import Style

__all__ = ["router"]

router = Router(prefix="/v1/heatmaps", tags=["heatmaps"])

JSON, PNG, TIFF, GEOJSON = "application/json", "image/png", "image/tiff", "application/geo+json"
TYPES = (JSON, PNG, TIFF, GEOJSON)

BINARY = {"schema": {"type": "string", "format": "binary"}}
BODY = {
    "required": True,
    "description": "The slide itself, any type but a form's; or a multipart form with one file",
    "content": {
        **RAW_BODIES,
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["slide"],
                "properties": {
                    "model": {"type": "string"},
                    "mpp": {"type": "number"},
                    "stride": {"type": "integer"},
                    "tta": {"type": "boolean"},
                    "slide": {"type": "string", "format": "binary", "description": "Last"},
                },
            }
        },
    },
}


class Options(BaseModel):
    """What a query or a form may say."""

    model_config = ConfigDict(extra="forbid")

    model: Model | None = None
    mpp: Mpp | None = None
    stride: StridePx | None = None
    tta: bool = Field(default=False, description="As in the params of a job")


@router.post(
    "",
    status_code=200,
    response_class=Response,
    responses={
        200: {
            "description": "Done in time: the heatmap in the accepted type",
            "content": {
                JSON: {
                    "schema": ResultJson.model_json_schema(
                        ref_template="#/components/schemas/{model}"
                    )
                },
                PNG: BINARY,
                TIFF: BINARY,
                GEOJSON: BINARY,
            },
        },
        202: {"model": JobJson, "description": "Under way: see Location"},
        **failures(406, 408, 409, 410, 413, 415, 422, 507),
    },
    openapi_extra={"requestBody": BODY},
    max_body_size=UNLIMITED,
)
async def create_heatmap(
    request: Request,
    service: Parts,
    principal: Writer,
    options: Annotated[Options, Query()],
    idempotency_key: IdempotencyKey = None,
    accept: Annotated[str | None, Header(max_length=1000)] = None,
    prefer: Annotated[
        list[str] | None,
        Header(description="wait=60: answer with the heatmap if it is done by then"),
    ] = None,
) -> Response:
    """Send a slide, get its heatmap: in one request with `Prefer: wait`, else by the job.

    `curl -X POST -T slide.svs -H 'Accept: image/png' -H 'Prefer: wait=60' URL -o heatmap.png`
    """
    wanted = choose_type(accept, TYPES)
    if wanted is None:
        raise Refusal("not-acceptable", f"accept one of {', '.join(TYPES)}")
    slide, offered, asked = await _receive(
        request, service, principal.owner, options, idempotency_key
    )
    snapshot = await submit(service, slide, offered, asked, principal.key_id)
    wait_s = wait_preferred(prefer or [])
    if wait_s and not snapshot.job.state.is_final:
        wait_s = int(min(wait_s, service.settings.max_wait_s))
        snapshot = await service.watcher.wait_final(snapshot.job, wait_s)
    answer = await _answer(request, service, snapshot, wanted)
    if wait_s is not None:
        answer.headers["Preference-Applied"] = f"wait={wait_s}"
    return answer


async def _receive(
    request: Request, service: Service, owner: Owner, options: Options, key: str | None
) -> tuple[StoredSlide, Offered, Asked]:
    """Options first: what is refused for them has stored nothing."""
    form = None
    if media_type_of(request) == "multipart/form-data":
        form = open_form(request, service)
        options = _merged(options, await form.fields())
    offered = service.catalogue.get(options.model)
    asked = Asked(mpp=options.mpp, stride_px=options.stride, tta=options.tta, idempotency_key=key)
    require_valid(asked, offered.card)
    if form is None:
        stored = await receive_slide(request, service, owner)
    else:
        stored = await service.library.receive(
            owner.tenant,
            form.file(),
            media_type=None,
            content_length=None,
            key_id=owner.key_id,
        )
    return stored.slide, offered, asked


def _merged(options: Options, fields: dict[str, str]) -> Options:
    """The form's fields go before the query's."""
    try:
        return Options.model_validate(options.model_dump(exclude_none=True) | fields)
    except ValidationError as error:
        errors = [{**each, "loc": ("body", *each["loc"])} for each in error.errors()]
        raise RequestValidationError(errors) from error


async def _answer(request: Request, service: Service, snapshot: Snapshot, wanted: str) -> Response:
    match snapshot.job.state:
        case JobState.SUCCEEDED:
            return await _deliver(request, service, snapshot.job, wanted)
        case JobState.FAILED | JobState.CANCELLED:
            return _explain(request, service, snapshot.job)
    job = service.resources.job(snapshot)
    headers = {"Location": job.links.self, "Cache-Control": NO_STORE}
    return Response(job.model_dump_json(), 202, headers, media_type=JSON)


async def _deliver(request: Request, service: Service, job: Job, wanted: str) -> Response:
    found = await run_in_threadpool(service.shelf.get, job.tenant, job.result_id)
    at = service.resources.link("results", found.id)
    more = {"Cache_Control": NO_STORE, "Location": service.resources.link("jobs", job.id)}
    fields = {name.replace("_", "-"): value for name, value in more.items()}
    match wanted:
        case "image/png":
            fields |= {"Content-Location": f"{at}/heatmap.png"}
            make = partial(
                service.viewing.heatmaps.picture, found.folder / ZARR, DEFAULT_PX, Style()
            )
            picture = await WHOLE_PICTURES.make(request, make, found.tenant)
            return Response(picture, 200, fields, PNG)
        case "image/tiff":
            return deliver_file(
                found.folder, "heatmap.tif", Content_Location=f"{at}/heatmap.tif", **more
            )
        case "application/geo+json":
            geojson = GeoJson(found, "tiles", None)
            return await geojson.plain(request, Content_Location=f"{at}/heatmap.geojson", **more)
    body = await run_in_threadpool(service.resources.result, found)
    return Response(
        body.model_dump_json(), 200, {**fields, "Content-Location": at}, media_type=JSON
    )


def _explain(request: Request, service: Service, job: Job) -> Response:
    """The job's own problem, as the answer to the request that asked for it."""
    reason = dict(job.error or {})
    if job.state is JobState.CANCELLED:
        reason = problem("cancelled", "Somebody cancelled the job while you waited.")
    body = {**problem("internal-error", "The job failed."), **reason, "instance": request.url.path}
    return ProblemAnswer.from_problem(body, {"Location": service.resources.link("jobs", job.id)})
