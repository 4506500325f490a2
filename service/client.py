"""A client of the REST API: upload a slide, wait for its heatmap, fetch the files.

    with Client("http://localhost:8000") as client:
        result = client.heatmap(Path("slide.svs"), mpp=0.25)
        client.download(result, "heatmap.tif", Path("heatmap.ome.tiff"))

A connection that drops costs nothing: uploads are known by their bytes, jobs by an idempotency key,
waiting and downloads go on where they were.
"""

import hashlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from service.jobs.job import JobState
from service.schemas import JobJson, Problem, ResultJson, SlideJson

__all__ = ["ApiError", "Client"]

BLOCK_BYTES = 1 << 20
WAIT_S = 30.0  # of one long poll
TRIES = 6
PAUSE_S = 0.5  # before the second try; doubled before each further one
AGAIN = (429, 502, 503, 504)
"""Answers after which the same request may well succeed a little later."""


class ApiError(Exception):
    """The service said no. `problem` is its RFC 9457 object; `slug` the last part of its type."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.title}: {problem.detail}")
        self.problem = problem

    @property
    def slug(self) -> str:
        return self.problem.type.rpartition("/")[2]


class Client:
    """Blocking; use one in each thread. `key`: an API key or a JWT.

    Methods raise ApiError where the service refuses, httpx.TransportError where it cannot be
    reached TRIES times in a row.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        key: str | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        timeout = httpx.Timeout(60, read=WAIT_S + 60)
        self._http = httpx.Client(
            base_url=base_url, headers=headers, timeout=timeout, transport=transport
        )
        self._sleep = sleep

    def upload(self, slide: Path) -> SlideJson:
        """The slide on the server; one that is there already is not stored again."""
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(slide.stat().st_size),
        }

        def send() -> httpx.Response:
            return self._http.post("/v1/slides", content=_blocks(slide), headers=headers)

        return SlideJson.model_validate_json(self._ask(send).content)

    def submit(
        self,
        slide_id: str,
        *,
        model: str | None = None,
        params: Mapping[str, Any] | None = None,
        outputs: tuple[str, ...] = (),
        priority: int = 0,
    ) -> JobJson:
        """Asks for a heatmap. `params`: mpp, stride, window, mask … as POST /v1/jobs takes them."""
        body = {
            "slide_id": slide_id,
            "model": model,
            "params": dict(params or {}),
            "outputs": list(outputs),
            "priority": priority,
        }
        headers = {"Idempotency-Key": uuid.uuid4().hex}  # sent again, it is the same job
        answer = self._ask(lambda: self._http.post("/v1/jobs", json=body, headers=headers))
        return JobJson.model_validate_json(answer.content)

    def job(self, job_id: str, wait_s: float = 0) -> JobJson:
        """Where it stands; waits up to `wait_s` for the end."""
        query = {"wait": wait_s} if wait_s else {}
        answer = self._ask(lambda: self._http.get(f"/v1/jobs/{job_id}", params=query))
        return JobJson.model_validate_json(answer.content)

    def wait(
        self, job: JobJson | str, on_progress: Callable[[JobJson], object] = lambda job: None
    ) -> JobJson:
        """The job when it has ended, however that was."""
        job_id = job if isinstance(job, str) else job.id
        while True:
            now = self.job(job_id, WAIT_S)
            on_progress(now)
            if now.state.is_final:
                return now

    def cancel(self, job_id: str) -> JobJson:
        answer = self._ask(lambda: self._http.post(f"/v1/jobs/{job_id}/cancel"))
        return JobJson.model_validate_json(answer.content)

    def result(self, result_id: str) -> ResultJson:
        answer = self._ask(lambda: self._http.get(f"/v1/results/{result_id}"))
        return ResultJson.model_validate_json(answer.content)

    def heatmap(
        self,
        slide: Path,
        *,
        model: str | None = None,
        on_progress: Callable[[JobJson], object] = lambda job: None,
        **params: Any,
    ) -> ResultJson:
        """Upload, submit, wait. A job that failed or was cancelled raises ApiError."""
        job = self.submit(self.upload(slide).id, model=model, params=params)
        ended = self.wait(job, on_progress)
        if ended.state is not JobState.SUCCEEDED or ended.result_id is None:
            raise ApiError(ended.error or _cancelled(ended))
        return self.result(ended.result_id)

    def download(self, result: ResultJson, name: str, to: Path) -> Path:
        """An artefact by its name in the result; written aside, checked by its sha256, renamed."""
        artefact = next((each for each in result.artefacts if each.name == name), None)
        if artefact is None:
            names = ", ".join(each.name for each in result.artefacts)
            raise ApiError(_problem("not-found", f"{name}: the result has {names}"))
        partial = to.with_name(to.name + ".partial")
        partial.unlink(missing_ok=True)
        self._fetch(artefact.href, partial, artefact.size_bytes)
        with partial.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != artefact.sha256:
                partial.unlink()
                raise ApiError(_problem("checksum-mismatch", f"{name} came damaged; try again"))
        return partial.replace(to)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _fetch(self, url: str, partial: Path, size_bytes: int) -> None:
        """All of a file, by as many connections as it takes."""

        def go_on() -> httpx.Response:
            have = partial.stat().st_size if partial.exists() else 0
            headers = {"Range": f"bytes={have}-"} if 0 < have < size_bytes else {}
            with (
                self._http.stream("GET", url, headers=headers) as answer,
                partial.open("ab" if answer.status_code == 206 else "wb") as file,
            ):
                if answer.is_error:
                    answer.read()
                    return answer
                for block in answer.iter_bytes(BLOCK_BYTES):
                    file.write(block)
            return answer

        self._ask(go_on)

    def _ask(self, send: Callable[[], httpx.Response]) -> httpx.Response:
        """The answer, after as many tries as it takes. Every request here may be sent again."""
        pause_s = PAUSE_S
        for left in reversed(range(TRIES)):
            try:
                answer = send()
            except httpx.TransportError:
                if not left:
                    raise
            else:
                if answer.status_code not in AGAIN or not left:
                    return _require_ok(answer)
                pause_s = max(pause_s, _retry_after_s(answer))
            self._sleep(pause_s)
            pause_s *= 2
        raise AssertionError("the last try returns or raises")


def _blocks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while block := opened.read(BLOCK_BYTES):
            yield block


def _retry_after_s(answer: httpx.Response) -> float:
    field = answer.headers.get("Retry-After", "")
    return float(field) if field.isdecimal() else 0.0


def _require_ok(answer: httpx.Response) -> httpx.Response:
    if not answer.is_error:
        return answer
    if answer.headers.get("Content-Type", "").startswith("application/problem+json"):
        raise ApiError(Problem.model_validate_json(answer.content))
    raise ApiError(
        _problem("no-problem", f"the answer was {answer.status_code}", answer.status_code)
    )


def _cancelled(job: JobJson) -> Problem:
    return _problem("cancelled", f"job {job.id} was cancelled")


def _problem(slug: str, detail: str, status: int = 0) -> Problem:
    """One of this side, in the same form."""
    title = slug.replace("-", " ").capitalize()
    return Problem(type=f"/problems/{slug}", title=title, status=status, detail=detail)
