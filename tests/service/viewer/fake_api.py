"""A REST API in memory for the page: it decides nothing, tests say what becomes of a job."""

import asyncio
import itertools
import json
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from service.routes import viewer
from tests.service.viewer.painting import Painting, png
from wsi.render import Style

__all__ = ["FakeApi", "problem"]

FINAL = ("succeeded", "failed", "cancelled")
NO_CACHE = {"Cache-Control": "no-store"}


def problem(name: str, title: str, status: int, detail: str) -> dict[str, Any]:
    return {"type": f"/problems/{name}", "title": title, "status": status, "detail": detail}


NO_MPP = problem("no-mpp", "The slide does not state its resolution", 422, "send params.mpp")
UNAUTHORIZED = problem("not-authenticated", "A key is needed", 401, "send Authorization: Bearer")


@dataclass
class FakeApi:
    painting: Painting
    key: str | None = None  # that requests have to bring
    jobs_need_mpp: bool = False
    breaks_streams: bool = False  # events end before the job does
    classes: tuple[str, ...] = ("non_idc", "idc")
    channels: tuple[str, ...] = ("uncertainty",)
    warnings: tuple[str, ...] = ()
    jobs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # their states so far
    uploads: list[bytes] = field(default_factory=list)
    job_requests: list[dict[str, Any]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    def add_job(self, slide_id: str = "sld_000001", **changes: Any) -> str:
        number = next(self.numbers)
        job_id = f"job_{number:06}"
        job = {
            "id": job_id,
            "state": "queued",
            "stage": None,
            "done": 0,
            "total": 0,
            "queue_position": 1,
            "eta_s": None,
            "attempt": 1,
            "cached": False,
            "slide_id": slide_id,
            "model": "idc-resnet18",
            "created_at": f"2026-05-04T10:{number:02}:00Z",
            "finished_at": None,
            "error": None,
            "result_id": None,
            "links": {},
        }
        self.jobs[job_id] = [job | changes]
        return job_id

    def advance(self, job_id: str, **changes: Any) -> None:
        states = self.jobs[job_id]
        states.append(states[-1] | changes)

    def finish(self, job_id: str) -> None:
        result_id = job_id.replace("job", "res")
        self.advance(job_id, state="succeeded", stage=None, result_id=result_id)

    def fail(self, job_id: str, error: dict[str, Any]) -> None:
        self.advance(job_id, state="failed", error=error)

    def result(self, result_id: str) -> dict[str, Any]:
        mpp = self.painting.mpp
        bins = self.painting.tissue_mm2()
        artefact = {"media_type": "text/csv", "size_bytes": 54321, "sha256": "0" * 64}
        return {
            "id": result_id,
            "job_id": result_id.replace("res", "job"),
            "slide_id": "sld_000001",
            "model": {"name": "idc-resnet18", "version": "1.2.0"},
            "classes": list(self.classes),
            "channels": list(self.channels),
            "positive_class": "idc",
            "slide": {"size0": self.painting.size0, "mpp": mpp and [mpp, mpp]},
            "grid": {},
            "statistics": {
                "threshold": 0.42,
                "positive_tissue_mm2": sum(bins[84:]),
                "scored_tissue_mm2": sum(bins),
                "histogram": {"bins": 200, "tissue_mm2": bins},
            },
            "warnings": list(self.warnings),
            "outcome": "heatmap",
            "artefacts": [
                artefact | {"name": "tiles.csv", "href": f"/v1/results/{result_id}/tiles.csv"},
                artefact
                | {"name": "a.geojson.gz", "href": f"/v1/results/{result_id}/a?kind=regions"},
                artefact | {"name": "elsewhere", "href": "javascript:alert(1)"},
            ],
            "links": {},
        }

    async def events(self, job_id: str) -> AsyncIterator[str]:
        for number in itertools.count():
            states = self.jobs[job_id]
            while number >= len(states):
                await asyncio.sleep(0.01)
            state = states[number]["state"]
            name = "state" if number == 0 or state != states[number - 1]["state"] else "progress"
            yield f"id: {number}\nevent: {name}\ndata: {json.dumps(states[number])}\n\n"
            if state in FINAL or self.breaks_streams:
                return

    def app(self) -> FastAPI:
        app = FastAPI()
        app.include_router(viewer.router)
        guarded = [Depends(self.check)]
        for method, path, answer in (
            ("POST", "/v1/slides", self.post_slide),
            ("POST", "/v1/jobs", self.post_job),
            ("GET", "/v1/jobs", self.get_jobs),
            ("GET", "/v1/jobs/{job_id}", self.get_job),
            ("GET", "/v1/jobs/{job_id}/events", self.get_events),
            ("POST", "/v1/jobs/{job_id}/cancel", self.cancel_job),
            ("GET", "/v1/results/{result_id}", self.get_result),
            ("GET", "/v1/results/{result_id}/point", self.get_point),
            ("GET", "/v1/results/{result_id}/tiles.csv", self.get_csv),
            ("GET", "/v1/results/{result_id}/heatmap.dzi", self.get_heatmap_dzi),
            ("GET", "/v1/results/{result_id}/heatmap_files/{level}/{name}", self.get_heatmap_tile),
            ("GET", "/v1/slides/{slide_id}/slide.dzi", self.get_slide_dzi),
            ("GET", "/v1/slides/{slide_id}/slide_files/{level}/{name}", self.get_slide_tile),
            ("GET", "/v1/slides/{slide_id}/thumbnail.jpg", self.get_thumbnail),
        ):
            app.add_api_route(path, answer, methods=[method], dependencies=guarded)
        app.add_exception_handler(HTTPException, answer_problem)
        return app

    def check(self, request: Request) -> None:
        self.requests.append(f"{request.method} {request.url.path}?{request.url.query}")
        sent = request.headers.get("authorization")
        if self.key is not None and sent != f"Bearer {self.key}":
            raise HTTPException(401, UNAUTHORIZED)

    async def post_slide(self, request: Request) -> dict[str, Any]:
        self.uploads.append(await request.body())
        return {"id": f"sld_{len(self.uploads):06}"}

    def post_job(self, body: dict[str, Any]) -> JSONResponse:
        self.job_requests.append(body)
        job_id = self.add_job(body["slide_id"])
        answer = JSONResponse(self.jobs[job_id][-1], 202)
        if self.jobs_need_mpp and "mpp" not in body.get("params", {}):
            self.fail(job_id, NO_MPP)
        return answer

    def get_jobs(self) -> dict[str, Any]:
        return {"items": [states[-1] for states in self.jobs.values()], "next_cursor": None}

    def get_job(self, job_id: str) -> dict[str, Any]:
        return self.jobs[job_id][-1]

    def get_events(self, job_id: str) -> StreamingResponse:
        return StreamingResponse(self.events(job_id), media_type="text/event-stream")

    def cancel_job(self, job_id: str) -> JSONResponse:
        self.advance(job_id, state="cancelled")
        return JSONResponse(self.jobs[job_id][-1], 202)

    def get_result(self, result_id: str) -> dict[str, Any]:
        if result_id == "res_gone":
            detail = "its result was kept for 30 days"
            raise HTTPException(410, problem("result-expired", "The result is gone", 410, detail))
        return self.result(result_id)

    def get_point(self, x0: float, y0: float) -> dict[str, Any]:
        cell = self.painting.cell0_px
        value = float(self.painting.probability[int(y0 / cell), int(x0 / cell)])
        if math.isnan(value):
            raise HTTPException(404, problem("not-found", "Nothing", 404, "nothing was scored"))
        prob = {"non_idc": 1 - value, "idc": value}
        channels = dict.fromkeys(self.channels, 0.125)
        point = {"x0": x0, "y0": y0, "prob": prob, "channels": channels}
        return point | {"positive": value, "threshold": 0.42}

    def get_csv(self) -> Response:
        return Response("minx,miny\n0,0\n", media_type="text/csv")

    def get_heatmap_dzi(self) -> Response:
        return Response(self.painting.dzi("png"), media_type="application/xml")

    def get_slide_dzi(self) -> Response:
        return Response(self.painting.dzi("jpeg"), media_type="application/xml")

    def get_heatmap_tile(
        self,
        level: int,
        name: str,
        cmap: str = "viridis",
        vmin: float = 0,
        vmax: float = 1,
        threshold: float | None = None,
        alpha: float = 1,
        fade: float = 1,
        class_name: str = Query("idc", alias="class"),
    ) -> Response:
        style = Style(cmap, vmin, vmax, threshold, alpha, fade)
        column, row = (int(part) for part in name.removesuffix(".png").split("_"))
        pixels = self.painting.heatmap_tile(level, column, row, style)
        return Response(pixels, media_type="image/png", headers=NO_CACHE)

    def get_slide_tile(self, level: int, name: str) -> Response:
        column, row = (int(part) for part in name.removesuffix(".jpeg").split("_"))
        pixels = self.painting.slide_tile(level, column, row)
        return Response(pixels, media_type="image/png", headers=NO_CACHE)

    def get_thumbnail(self) -> Response:
        levels = self.painting.levels
        small = next(level for level in levels if max(level.shape) <= 256)
        return Response(png(small), media_type="image/png")


def answer_problem(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    body: Any = error.detail
    media_type = "application/problem+json"
    return JSONResponse(body, error.status_code, media_type=media_type)
