"""A client of the REST API: upload a slide, wait for its heatmap, fetch the files.

    with Client("http://localhost:8000") as client:
        result = client.heatmap(Path("slide.svs"), mpp=0.25)
        client.download(result, "heatmap.tif", Path("heatmap.ome.tiff"))

A connection that drops costs nothing: uploads are known by their bytes, jobs by an idempotency key,
waiting and downloads go on where they were. A service that restarts is waited for.
"""

import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from service.jobs.job import JobState
from service.schemas import Artefact, JobJson, Problem, ResultJson, SlideJson

__all__ = ["ApiError", "Client"]

BLOCK_BYTES = 1 << 20
WAIT_S = 30.0  # of one long poll
PROGRESS_S = 2.0  # of one where somebody wants to hear of progress
FIRST_PAUSE_S = 0.5  # before the second try; doubled before each further one
LONGEST_PAUSE_S = 10.0
PATIENCE_S = 120.0  # a service that is told to stop takes up to 45 s, and then has to start
PATIENCE_AT_FIRST_S = 3.0  # while it has not answered yet: then the address may well be wrong
AGAIN = (408, 429, 502, 503, 504)
"""Answers after which the same request may well succeed a little later."""

Model = TypeVar("Model", bound=BaseModel)
OnJob = Callable[[JobJson], object]
OnBytes = Callable[[int, int], object]
"""Called with the bytes that are done and those that there are in all."""


class ApiError(Exception):
    """The service said no. `problem` is its RFC 9457 object; `slug` the last part of its type."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.problem.title}: {self.problem.detail}"

    @property
    def slug(self) -> str:
        return self.problem.type.rpartition("/")[2]


class Client:
    """Blocking; threads may share one. `key`: an API key or a JWT.

    Methods raise ApiError where the service refuses, httpx.TransportError where it cannot be
    reached for `patience_s` (before its first answer for a few seconds only).
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        key: str | None = None,
        *,
        patience_s: float = PATIENCE_S,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise ValueError(f"base_url {base_url!r}: begin it with http:// or https://")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        timeout = httpx.Timeout(60, read=WAIT_S + 60)
        self._http = httpx.Client(
            base_url=base_url, headers=headers, timeout=timeout, transport=transport
        )
        self._patience_s, self._sleep = patience_s, sleep
        self._has_answered = False

    def upload(self, slide: Path, on_bytes: OnBytes = lambda done, total: None) -> SlideJson:
        """The slide on the server; one that is there already is not stored again."""
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(slide.stat().st_size),
        }
        sent = _Sent(slide, on_bytes)
        answer = self._ask(lambda: self._http.post("/v1/slides", content=sent, headers=headers))
        stored = _read(SlideJson, answer)
        if stored.sha256 != sent.sha256:
            raise ApiError(_problem("checksum-mismatch", f"{slide.name} came damaged; try again"))
        return stored

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
        return _read(JobJson, answer)

    def job(self, job_id: str, wait_s: float = 0) -> JobJson:
        """Where it stands; waits up to `wait_s` for the end."""
        query = {"wait": wait_s} if wait_s else {}
        return _read(JobJson, self._ask(lambda: self._http.get(f"/v1/jobs/{job_id}", params=query)))

    def wait(self, job: JobJson | str, on_progress: OnJob | None = None) -> JobJson:
        """The job when it has ended, however that was. `on_progress` is told each state that is
        seen, every two seconds or so."""
        job_id = job if isinstance(job, str) else job.id
        before: JobJson | None = None
        while True:
            now = self.job(job_id, PROGRESS_S if on_progress else WAIT_S)
            if on_progress is not None and now != before:
                on_progress(now)
            if now.state.is_final:
                return now
            if now == before:  # the operator may allow no waiting: do not ask without pause
                self._sleep(FIRST_PAUSE_S)
            before = now

    def events(self, job_id: str) -> Iterator[JobJson]:
        """The job each time that it changes, as the service tells it; the last one is final."""
        patience, told = self._patience(), ""
        while True:
            try:
                for number, job in self._stream(job_id, told):
                    patience.renew()
                    told = number
                    yield job
                    if job.state.is_final:
                        return
            except httpx.TransportError:
                if not patience.pause():
                    raise
            except ApiError as error:
                if error.problem.status not in AGAIN or not patience.pause():
                    raise
            else:  # the service shuts down, or something between closed the connection
                if not patience.pause():
                    raise httpx.RemoteProtocolError(f"the events of {job_id} end before the job")

    def cancel(self, job_id: str) -> JobJson:
        """A job that is cancelled already stays so; one that has ended otherwise raises."""
        try:
            return _read(JobJson, self._ask(lambda: self._http.post(f"/v1/jobs/{job_id}/cancel")))
        except ApiError as error:
            if error.problem.status != 409:
                raise
            job = self.job(job_id)  # perhaps an answer was lost, and this was our second request
            if job.state is not JobState.CANCELLED:
                raise
            return job

    def result(self, result_id: str) -> ResultJson:
        return _read(ResultJson, self._ask(lambda: self._http.get(f"/v1/results/{result_id}")))

    def heatmap(
        self,
        slide: Path,
        *,
        model: str | None = None,
        outputs: tuple[str, ...] = (),
        on_progress: OnJob | None = None,
        **params: Any,
    ) -> ResultJson:
        """Upload, submit, wait. A job that failed or was cancelled raises ApiError."""
        job = self.submit(self.upload(slide).id, model=model, params=params, outputs=outputs)
        ended = self.wait(job, on_progress)
        if ended.state is not JobState.SUCCEEDED or ended.result_id is None:
            raise ApiError(ended.error or _cancelled(ended))
        return self.result(ended.result_id)

    def download(
        self,
        result: ResultJson,
        name: str,
        to: Path,
        on_bytes: OnBytes = lambda done, total: None,
    ) -> Path:
        """An artefact by its name in the result; written aside, checked by its sha256, renamed.

        Two are called heatmap.geojson.gz: append ?kind=regions for the outlines.
        """
        address, artefact = _find(result, name)
        partial = to.with_name(to.name + ".partial")
        partial.unlink(missing_ok=True)
        try:
            self._fetch(f"/v1/results/{result.id}/{address}", partial, artefact, on_bytes)
            if _sha256(partial) != artefact.sha256:
                raise ApiError(_problem("checksum-mismatch", f"{name} came damaged; try again"))
            return partial.replace(to)
        finally:
            partial.unlink(missing_ok=True)

    def picture(self, result: ResultJson, **style: Any) -> bytes:
        """heatmap.png. `style`: max (px), cmap, vmin, vmax, threshold, alpha, as the service takes
        them."""
        url = f"/v1/results/{result.id}/heatmap.png"
        return self._ask(lambda: self._http.get(url, params=style)).content

    def token(self, result: ResultJson) -> str:
        """For `?tk=` in the addresses of this result's tiles and files: reads it, for a while."""
        url = f"/v1/results/{result.id}/token"
        return str(self._ask(lambda: self._http.post(url)).json()["token"])

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _stream(self, job_id: str, told: str) -> Iterator[tuple[str, JobJson]]:
        """Events after the one with the id `told`, as long as this connection holds."""
        headers = {"Last-Event-ID": told} if told else {}
        with self._http.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as answer:
            if not answer.is_success:
                answer.read()
                _require_ok(answer)
            self._has_answered = True
            for fields in _events(answer.iter_text()):
                if "data" in fields:
                    yield fields.get("id", told), JobJson.model_validate_json(fields["data"])

    def _fetch(self, url: str, partial: Path, artefact: Artefact, on_bytes: OnBytes) -> None:
        """All of a file, by as many connections as it takes."""
        patience = self._patience()

        def go_on() -> httpx.Response:
            have = partial.stat().st_size if partial.exists() else 0
            if have and have == artefact.size_bytes:
                return httpx.Response(200)  # the connection broke after the last byte
            headers = {"Accept-Encoding": "identity"}  # a range counts the file's own bytes
            headers |= {"Range": f"bytes={have}-"} if have else {}
            with self._http.stream("GET", url, headers=headers) as answer:
                if not answer.is_success:
                    answer.read()
                    return answer
                with partial.open("ab" if answer.status_code == 206 else "wb") as file:
                    for block in answer.iter_bytes():  # as they come: a break loses none
                        file.write(block)
                        patience.renew()
                        on_bytes(file.tell(), artefact.size_bytes)
                    file.flush()
                    os.fsync(file.fileno())
            return answer

        self._ask(go_on, patience)

    def _ask(
        self, send: Callable[[], httpx.Response], patience: "_Patience | None" = None
    ) -> httpx.Response:
        """The answer, after as many tries as it takes. Every request here may be sent again."""
        patience = patience or self._patience()
        while True:
            try:
                answer = send()
            except httpx.TransportError:
                if not patience.pause():
                    raise
            else:
                self._has_answered = True
                if answer.status_code not in AGAIN or not patience.pause(_retry_after_s(answer)):
                    return _require_ok(answer)

    def _patience(self) -> "_Patience":
        limit_s = self._patience_s if self._has_answered else PATIENCE_AT_FIRST_S
        return _Patience(min(limit_s, self._patience_s), self._sleep)


class _Patience:
    """Pauses between tries, each longer than the one before, until `limit_s` is used up."""

    def __init__(self, limit_s: float, sleep: Callable[[float], object]) -> None:
        self._limit_s, self._sleep = limit_s, sleep
        self.renew()

    def renew(self) -> None:
        """Something came: it is no dead connection."""
        self._left_s, self._next_s = self._limit_s, FIRST_PAUSE_S

    def pause(self, at_least_s: float = 0.0) -> bool:
        """False, at once, where it would take longer than what is left."""
        pause_s = max(self._next_s, at_least_s)
        if pause_s > self._left_s:
            return False
        self._left_s -= pause_s
        self._next_s = min(2 * self._next_s, LONGEST_PAUSE_S)
        self._sleep(pause_s)
        return True


class _Sent:
    """A file's blocks, from the start each time that they are asked for; and what they were."""

    def __init__(self, file: Path, on_bytes: OnBytes) -> None:
        self._file, self._on_bytes = file, on_bytes
        self.sha256 = ""

    def __iter__(self) -> Iterator[bytes]:
        hashed, done = hashlib.sha256(), 0
        total = self._file.stat().st_size
        with self._file.open("rb") as opened:
            while block := opened.read(BLOCK_BYTES):
                hashed.update(block)
                yield block
                done += len(block)
                self._on_bytes(done, total)
        self.sha256 = hashed.hexdigest()


def _events(texts: Iterator[str]) -> Iterator[dict[str, str]]:
    """The fields of each server-sent event; of a comment none."""
    kept = ""
    for text in texts:
        *blocks, kept = (kept + text).split("\n\n")
        for block in blocks:
            lines = (line.partition(":") for line in block.split("\n"))
            yield {name: value.removeprefix(" ") for name, _, value in lines if name}


def _find(result: ResultJson, name: str) -> tuple[str, Artefact]:
    """An artefact and the last part of its address, by that or by its name."""
    found = {each.href.rpartition("/")[2]: each for each in result.artefacts}
    for address, artefact in found.items():
        if name not in (address, artefact.name):
            continue
        if "zarr" in artefact.media_type:
            url = f"/v1/results/{result.id}/{address}"
            raise ApiError(_problem("not-a-file", f"{name} is a folder: open {url} with zarr"))
        return address, artefact
    raise ApiError(_problem("not-found", f"{name}: the result has {', '.join(found)}"))


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _retry_after_s(answer: httpx.Response) -> float:
    field = answer.headers.get("Retry-After", "")
    return float(field) if field.isdecimal() else 0.0


def _read(model: type[Model], answer: httpx.Response) -> Model:
    try:
        return model.model_validate_json(answer.content)
    except ValidationError as error:
        raise ApiError(_foreign(answer)) from error


def _require_ok(answer: httpx.Response) -> httpx.Response:
    if answer.is_success:
        return answer
    if answer.headers.get("Content-Type", "").startswith("application/problem+json"):
        raise ApiError(Problem.model_validate_json(answer.content))
    raise ApiError(_foreign(answer))


def _foreign(answer: httpx.Response) -> Problem:
    """An answer that this service does not give: of a proxy, or of something else."""
    to = f" (to {answer.headers['Location']})" if answer.is_redirect else ""
    detail = f"{answer.url.copy_with(query=None)} answered {answer.status_code}{to}, not the API"
    return _problem("foreign-answer", f"{detail}; check base_url", answer.status_code)


def _cancelled(job: JobJson) -> Problem:
    return _problem("cancelled", f"job {job.id} was cancelled")


def _problem(slug: str, detail: str, status: int = 0) -> Problem:
    """One of this side, in the same form."""
    title = slug.replace("-", " ").capitalize()
    return Problem(type=f"/problems/{slug}", title=title, status=status, detail=detail)
