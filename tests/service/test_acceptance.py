"""The service as its users meet it: `wsi serve` with keys, curl, the default model."""

import json
import os
import socket
import subprocess
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
import tifffile
from PIL import Image

from service.access.keys import ApiKeys
from service.database import open_database, upgrade
from service.settings import Settings
from tests.service.served import COMMAND, ROOT

pytestmark = pytest.mark.slow

LIMIT_S = 180


@dataclass
class Running:
    url: str
    data: Path
    http: httpx.Client  # with the key of tenant "a"
    other: str  # the key of tenant "b"

    def left_behind(self) -> set[str]:
        """Slides, results and uploads under way on disk."""
        return {
            path.relative_to(self.data).as_posix()
            for folder in ("incoming", "slides", "results")
            for path in (self.data / folder).glob("*")
            if not path.name.startswith(".")
        }


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("acceptance")
    settings = Settings(data=folder / "data")
    settings.data.mkdir()
    engine = open_database(settings.database)
    upgrade(engine)
    keys = [ApiKeys(engine).create(tenant, "test")[1] for tenant in ("a", "b")]
    engine.dispose()
    (folder / "roots").mkdir()
    environment = {
        "WSI_DATA": str(settings.data),
        "WSI_AUTH": "keys",
        "WSI_SLIDE_ROOTS": str(folder / "roots"),
        "WSI_POLL_S": "0.1",
        "WSI_HEARTBEAT_S": "0.5",
    }
    server = subprocess.Popen(
        [*COMMAND, "serve", "--port", "0"],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    url = server.stdout.readline().split()[0]
    with httpx.Client(
        base_url=url, headers={"Authorization": f"Bearer {keys[0]}"}, timeout=LIMIT_S
    ) as http:
        yield Running(url, settings.data, http, keys[1])
    server.terminate()
    assert server.wait(60) == 0
    server.stdout.close()


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom of 6,000 px at 0.25 um/px; pixels that a caller changes make another slide."""
    from wsi.phantom import draw_phantom

    path = tmp_path_factory.mktemp("slide") / "Müller, A. 🩺.tiff"
    draw_phantom(path, size_px=6000, mpp=0.25)
    return path


def post_slide(running: Running, body: bytes, **headers: str) -> httpx.Response:
    fields = {"Content-Type": "application/octet-stream", "Prefer": "wait=60", **headers}
    return running.http.post("/v1/heatmaps", content=body, headers=fields)


def problem_of(answer: httpx.Response) -> str:
    """The slug of a problem; whatever else an answer may be, it is no HTML and no trace."""
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.status_code == answer.json()["status"]
    assert "Traceback" not in answer.text
    assert "/tmp" not in answer.text
    return str(answer.json()["type"]).rpartition("/")[2]


def outcome_of(running: Running, answer: httpx.Response) -> str:
    """The problem of a request, or of the job that it became."""
    if answer.status_code != 202:
        return problem_of(answer)
    job = running.http.get(f"/v1/jobs/{answer.json()['id']}?wait=60").json()
    assert job["state"] == "failed"
    return str(job["error"]["type"]).rpartition("/")[2]


def test_a_slide_goes_in_and_a_heatmap_comes_back(running: Running, slide: Path) -> None:
    answer = post_slide(running, slide.read_bytes(), Accept="image/png")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.headers["preference-applied"] == "wait=60"
    assert running.http.get(answer.headers["content-location"]).content == answer.content


def test_the_same_slide_again_is_answered_from_its_result(running: Running, slide: Path) -> None:
    post_slide(running, slide.read_bytes(), Accept="image/png")
    begun = time.perf_counter()
    answer = post_slide(running, slide.read_bytes(), Accept="image/png")
    seconds = time.perf_counter() - begun
    print(f"the same slide again: {1000 * seconds:.0f} ms (bar 100 ms)")
    assert answer.status_code == 200
    jobs = running.http.get("/v1/jobs?limit=1").json()["items"]
    assert jobs[0]["cached"] is True


def test_a_real_slide_is_accepted_watched_and_polled(running: Running, real_data: Path) -> None:
    body = (real_data / "slides" / "CMU-1-Small-Region.svs").read_bytes()
    answer = post_slide(running, body, Prefer="respond-async", Accept="application/json")
    assert answer.status_code == 202
    job = answer.json()["links"]
    with running.http.stream("GET", job["events"]) as stream:
        lines = [line for line in stream.iter_lines() if line.startswith("data:")]
    last = json.loads(lines[-1].removeprefix("data:"))
    assert last["state"] == "succeeded"
    polled = running.http.get(job["self"]).json()
    assert polled["state"] == "succeeded"
    result = running.http.get(polled["links"]["result"]).json()
    assert result["slide"]["size0"] == [2220, 2967]
    assert result["outcome"] == "heatmap"
    assert running.http.get(f"/v1/slides/{polled['slide_id']}/thumbnail.jpg").status_code == 200


def test_slides_that_are_none_are_refused_and_leave_nothing(
    running: Running, slide: Path, tmp_path: Path
) -> None:
    before = running.left_behind()
    bombs = zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED)
    bombs.writestr("slide.dcm", bytes(200 << 20))
    bombs.close()
    with tifffile.TiffWriter(tmp_path / "huge.tiff") as tiff:
        tiff.write(np.zeros((256, 256, 3), np.uint8), tile=(256, 256), photometric="rgb")
    huge = bytearray((tmp_path / "huge.tiff").read_bytes())
    with tifffile.TiffFile(tmp_path / "huge.tiff") as tiff:
        for name in ("ImageWidth", "ImageLength"):
            tag = tiff.pages[0].tags[name]
            huge[tag.offset + 2 : tag.offset + 4] = (4).to_bytes(2, "little")
            huge[tag.offset + 8 : tag.offset + 12] = (1_000_000).to_bytes(4, "little")
    found = {
        "text": problem_of(post_slide(running, b"no slide at all\n" * 500)),
        "huge": problem_of(post_slide(running, bytes(huge))),
        "bomb": problem_of(post_slide(running, (tmp_path / "bomb.zip").read_bytes())),
        "digest": problem_of(
            post_slide(
                running, slide.read_bytes(), **{"Content-Digest": "sha-256=:" + "A" * 43 + "=:"}
            )
        ),
        "form": problem_of(
            post_slide(running, b"a=b", **{"Content-Type": "application/x-www-form-urlencoded"})
        ),
    }
    assert found == {
        "text": "unsupported-format",
        "huge": "slide-too-large",
        "bomb": "archive-unsafe",
        "digest": "checksum-mismatch",
        "form": "unsupported-media",
    }
    assert running.left_behind() == before


def test_a_truncated_slide_is_a_failed_job_or_refused(running: Running, slide: Path) -> None:
    whole = slide.read_bytes()
    assert outcome_of(running, post_slide(running, whole[: len(whole) // 2])) == "corrupt-slide"


@pytest.mark.parametrize("cut", ["short", "gone"])
def test_a_body_that_is_not_all_there_leaves_nothing(
    running: Running, slide: Path, cut: str
) -> None:
    """The client states more than it sends, and waits or goes away."""
    before = running.left_behind()
    address = httpx.URL(running.url)
    body = slide.read_bytes()
    head = (
        f"POST /v1/slides HTTP/1.1\r\nHost: {address.host}:{address.port}\r\n"
        f"Authorization: {running.http.headers['Authorization']}\r\n"
        "Content-Type: application/octet-stream\r\n"
        f"Content-Length: {len(body) + (1000 if cut == 'short' else 0)}\r\n\r\n"
    )
    with socket.create_connection((address.host, address.port)) as connection:
        connection.sendall(head.encode() + (body if cut == "short" else body[:100_000]))
        if cut == "short":
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1 << 16)
    until = time.monotonic() + 30
    while running.left_behind() != before and time.monotonic() < until:
        time.sleep(0.05)
    assert running.left_behind() == before


def test_who_may_not_and_what_is_not_there_are_said_so(running: Running, slide: Path) -> None:
    answer = post_slide(running, slide.read_bytes(), Accept="application/json")
    mine = answer.json()["links"] if answer.status_code == 202 else None
    job = running.http.get("/v1/jobs?limit=1").json()["items"][0]
    result = running.http.get(job["links"]["self"] + "?wait=60").json()["links"]["result"]
    foreign = {"Authorization": f"Bearer {running.other}"}
    missing = result[:-1] + ("0" if result[-1] != "0" else "1")
    theirs = running.http.get(result, headers=foreign)
    nobody = httpx.get(running.url + result)
    assert mine is None or mine["self"]
    assert (theirs.status_code, problem_of(theirs)) == (404, "not-found")
    assert problem_of(running.http.get(missing)) == "not-found"
    assert theirs.json()["detail"] == running.http.get(missing).json()["detail"]
    assert (nobody.status_code, problem_of(nobody)) == (401, "not-authenticated")
    wrong = httpx.get(running.url + result, headers={"Authorization": "Bearer wsi_wrong"})
    assert problem_of(wrong) == "not-authenticated"


def test_options_that_cannot_be_are_refused(running: Running, slide: Path) -> None:
    slide_id = running.http.post("/v1/slides", content=slide.read_bytes(), headers={
        "Content-Type": "application/octet-stream"}).json()["id"]  # fmt: skip
    refused = [
        running.http.post("/v1/jobs", json={"slide_id": slide_id, "model": "../../etc/passwd"}),
        running.http.post("/v1/slides", json={"path": "../../../etc/passwd"}),
        running.http.get("/v1/results/..%2f..%2fwsi.sqlite3"),
        running.http.post("/v1/jobs", json={"slide_id": slide_id, "params": {"mpp": -1}}),
    ]
    assert [problem_of(answer) for answer in refused] == [
        "unknown-model", "invalid-request", "not-found", "invalid-body",
    ]  # fmt: skip


def test_a_running_job_can_be_cancelled(running: Running, tmp_path: Path) -> None:
    from wsi.phantom import draw_phantom

    draw_phantom(tmp_path / "slide.tiff", size_px=12_000, mpp=0.25, seed=7)
    answer = running.http.post(
        "/v1/heatmaps?stride=10",
        content=(tmp_path / "slide.tiff").read_bytes(),
        headers={"Content-Type": "image/tiff", "Accept": "application/json"},
    )
    job = answer.json()
    while running.http.get(job["links"]["self"]).json()["state"] == "queued":
        time.sleep(0.05)
    assert running.http.post(job["links"]["cancel"]).status_code == 202
    ended = running.http.get(job["links"]["self"] + "?wait=60").json()
    assert (ended["state"], ended["result_id"]) == ("cancelled", None)


def test_the_command_that_the_document_shows_works(running: Running, slide: Path) -> None:
    out = slide.with_name("heatmap.png")
    key = running.http.headers["Authorization"]
    command = [
        "curl", "--silent", "--show-error", "--fail", "-X", "POST", "-T", str(slide),
        "-H", "Accept: image/png", "-H", "Prefer: wait=60", "-H", f"Authorization: {key}",
        f"{running.url}/v1/heatmaps", "-o", str(out),
    ]  # fmt: skip
    subprocess.run(command, check=True)
    with Image.open(out) as picture:
        assert picture.format == "PNG"
