"""The application in a thread of its own, asked through ASGI; and a worker that only pretends."""

import asyncio
import hashlib
import shutil
import threading
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx
import numpy as np
from fastapi import FastAPI, Request

from models.registry import resolve_model
from service.access.auth import Principal
from service.app import create_app, running
from service.deps import Authenticate, Service, opened_service
from service.jobs import Job, NewResult
from service.pipeline import run_request
from service.request import HeatmapRequest
from service.results import MANIFEST
from service.settings import Settings
from service.storage.gatekeeper import admit
from service.storage.library import Library
from service.submission import ALWAYS, CHOICES
from tests.service.painted import paint, write_model, write_slide
from tests.service.shelving import empty_database

__all__ = ["Api", "Workshop", "make_workshop"]

T = TypeVar("T")

RESULTS_OF_STATE = 30
"""Seconds after which a test that waits for an answer has failed."""


class Workshop:
    """What a session makes once: a model, a real result, slides that differ in a pixel."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = write_model(folder / "mean-channel", 16, 0.5)
        self.values = ((np.arange(24) * 89) % 241).astype(np.uint8).reshape(4, 6)
        slide = folder / "slide.tiff"
        slide.write_bytes(self.slide_bytes())
        request = HeatmapRequest(
            slide=str(slide), model=self.model, mask="none", tta=True, formats=ALWAYS + CHOICES
        )
        self.result = run_request(request, folder / "out").folder

    @property
    def card(self):
        return resolve_model(self.model).card

    def slide_bytes(self, seed: int = 0) -> bytes:
        """A TIFF of 96 x 64 px at 0.5 um/px."""
        pixels = paint(self.values, 16, 96, 64)
        pixels[0, 0, 1] = seed
        path = write_slide(self.folder / f"slide-{seed}.tiff", [pixels], 0.5)
        content = path.read_bytes()
        path.unlink()
        return content


def make_workshop(folder: Path) -> Workshop:
    return Workshop(folder)


def tenant_by_header(request: Request) -> Principal:
    scopes = request.headers.get("x-scopes", "read write").split()
    return Principal(request.headers.get("x-tenant", "local"), None, frozenset(scopes))


@cache
def make_app(max_json_bytes: int) -> FastAPI:
    """Without an open service; its routes are compiled once for all tests."""
    settings = Settings(max_json_bytes=max_json_bytes)
    return create_app(settings, authenticate=tenant_by_header)


class Api:
    """`api.get(...)` and so on answer an httpx.Response. `api.service` is what the routes use."""

    def __init__(
        self,
        workshop: Workshop,
        data: Path,
        authenticate: Authenticate | None = tenant_by_header,
        **options: Any,
    ) -> None:
        """authenticate None: as the settings want it, by keys."""
        self.workshop, self.data, self._authenticate = workshop, data, authenticate
        data.mkdir(parents=True, exist_ok=True)
        (data / "wsi.sqlite3").write_bytes(empty_database())
        options.setdefault("disk_floor_bytes", 0)
        self.settings = Settings(data=data, model=workshop.model, **options)
        self.app = make_app(self.settings.max_json_bytes)
        self._stack = ExitStack()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="api", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        service = self._stack.enter_context(
            opened_service(self.settings, authenticate=self._authenticate)
        )
        service.library.close()
        # the same gate as in a process of its own, which would take half a second for each slide
        service.library = Library(
            self.data, service.engine, self.settings, service.clock, gate=admit
        )
        self._stack.callback(service.library.close)
        self._running = running(self.app, service)
        self.run(self._running.__aenter__())
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://wsi.test")
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._client.aclose())
        self.run(self._running.__aexit__(None, None, None))
        self._stack.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def service(self) -> Service:
        return self.app.state.service

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.start(coroutine).result(RESULTS_OF_STATE)

    def start(self, coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def request(self, method: str, url: str, **options: Any) -> httpx.Response:
        return self.ask(method, url, **options).result(RESULTS_OF_STATE)

    def ask(self, method: str, url: str, **options: Any) -> "Future[httpx.Response]":
        """request(), without waiting for the answer."""
        tenant = options.pop("tenant", None)
        if tenant is not None:
            options["headers"] = {**options.get("headers", {}), "X-Tenant": tenant}
        return self.start(self._client.request(method, url, **options))

    def get(self, url: str, **options: Any) -> httpx.Response:
        return self.request("GET", url, **options)

    def head(self, url: str, **options: Any) -> httpx.Response:
        return self.request("HEAD", url, **options)

    def post(self, url: str, **options: Any) -> httpx.Response:
        return self.request("POST", url, **options)

    def delete(self, url: str, **options: Any) -> httpx.Response:
        return self.request("DELETE", url, **options)

    # what tests do often

    def upload(self, seed: int = 0, **options: Any) -> str:
        """The id of a slide."""
        answer = self.post("/v1/slides", content=self.workshop.slide_bytes(seed), **options)
        assert answer.status_code in (200, 201), answer.text
        return str(answer.json()["id"])

    def submit(self, slide_id: str, **fields: Any) -> dict[str, Any]:
        """The job of a slide."""
        options = {name: fields.pop(name) for name in ("tenant", "headers") if name in fields}
        answer = self.post("/v1/jobs", json={"slide_id": slide_id, **fields}, **options)
        assert answer.status_code == 202, answer.text
        job: dict[str, Any] = answer.json()
        return job

    def finished(self, seed: int = 0, **options: Any) -> dict[str, Any]:
        """A job that has succeeded."""
        job = self.submit(self.upload(seed, **options), **options)
        self.finish()
        return dict(self.get(f"/v1/jobs/{job['id']}", **options).json())

    # the worker

    def claim(self) -> Job:
        job = self.service.queue.claim("pretended")
        assert job is not None, "no job waits"
        return job

    def finish(self, job: Job | None = None) -> Job:
        """Ends the next job with the session's result, as a worker publishes one."""
        job = job or self.claim()
        folder = self.data / "results" / job.result_id
        shutil.copytree(self.workshop.result, folder)
        manifest = (folder / MANIFEST).read_bytes()
        result = NewResult(
            job.result_id,
            job.slide_id,
            job.work_key,
            sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
            hashlib.sha256(manifest).hexdigest(),
        )
        assert self.service.queue.succeed(job, result)
        return job

    def fail(self, problem: dict[str, Any], job: Job | None = None) -> Job:
        job = job or self.claim()
        assert self.service.queue.fail(job, problem, retry_in_s=None)
        return job


def events_of(text: str) -> list[dict[str, str]]:
    """Server-sent events, each with its fields; comments left out."""
    blocks = (block for block in text.split("\n\n") if block.strip())
    found = []
    for block in blocks:
        lines = [line.partition(": ") for line in block.splitlines() if not line.startswith(":")]
        if lines:
            found.append({name: value for name, _, value in lines})
    return found


def at_once(calls: Iterable[Callable[[], T]]) -> list[T]:
    """Each in a thread of its own, begun together."""
    made = list(calls)
    gate, answers = threading.Barrier(len(made)), [None] * len(made)

    def call(number: int, function: Callable[[], Any]) -> None:
        gate.wait()
        answers[number] = function()

    threads = [threading.Thread(target=call, args=pair) for pair in enumerate(made)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers  # type: ignore[return-value]
