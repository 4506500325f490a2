"""Behind a real server: bodies that break off, lie about their length or stop coming."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.jobs import JobState
from tests.service.api.harness import Api, Workshop, events_of
from tests.service.api.live import raw_exchange, served
from tests.service.shelving import files_of


@pytest.fixture(scope="module")
def api(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    data = tmp_path_factory.mktemp("server") / "data"
    with Api(workshop, data, upload_stall_s=0.3, max_slide_bytes=1 << 20) as api:
        yield api


@pytest.fixture(scope="module")
def url(api: Api) -> Iterator[str]:
    with served(api) as url:
        yield url


@pytest.fixture(autouse=True)
def no_job_waits_afterwards(api: Api) -> Iterator[None]:
    """A test that fails leaves none that the next one would claim."""
    yield
    for job in api.service.queue.page("local", limit=10, state=JobState.QUEUED):
        api.service.queue.cancel("local", job.id)


def head(length: int | str, *fields: str) -> bytes:
    lines = [
        "POST /v1/slides HTTP/1.1",
        "Host: wsi.test",
        "Connection: close",
        f"Content-Length: {length}",
        *fields,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def left(api: Api) -> list[str]:
    """Files of slides that are not in the list, and of uploads."""
    known = {slide["id"] for slide in api.get("/v1/slides").json()["items"]}
    kept = [name for name in files_of(api.data) if name.startswith(("slides/", "incoming/"))]
    return [name for name in kept if name.split("/")[1] not in known]


def wait_until_nothing_is_left(api: Api) -> None:
    """The server notices a broken connection a moment later."""
    for _ in range(1000):
        if left(api) == []:
            return
        time.sleep(0.01)
    raise AssertionError(left(api))


@pytest.mark.parametrize("sent", [0, 1, 400])
def test_body_that_is_cut_leaves_nothing(api: Api, url: str, workshop: Workshop, sent: int) -> None:
    body = workshop.slide_bytes(seed=90)
    raw_exchange(url, head(len(body)) + body[:sent])
    wait_until_nothing_is_left(api)
    assert api.get("/livez").status_code == 200
    sha256 = httpx.post(f"{url}/v1/slides", content=body, timeout=60)
    assert sha256.status_code == 201  # and so no part of it had been taken for the slide
    api.delete(sha256.headers["location"])


def test_length_that_is_too_short_stores_no_slide(api: Api, url: str, workshop: Workshop) -> None:
    body = workshop.slide_bytes(seed=91)
    answer = raw_exchange(url, head(300) + body, half_close=False)
    assert answer.startswith(b"HTTP/1.1 422")
    wait_until_nothing_is_left(api)


@pytest.mark.parametrize("length", ["many", "-1", "1e3", "0x10"])
def test_length_that_is_no_number_is_refused(api: Api, url: str, length: str) -> None:
    answer = raw_exchange(url, head(length) + b"II*\0")
    assert answer.startswith(b"HTTP/1.1 400")
    wait_until_nothing_is_left(api)


def test_length_over_the_limit_is_refused_before_the_body(api: Api, url: str) -> None:
    answer = raw_exchange(url, head((1 << 20) + 1), half_close=False)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"/problems/too-large" in answer


def test_body_over_the_limit_is_refused_without_a_length(api: Api, url: str) -> None:
    blocks = (b"II*\0" * 4096 for _ in range(100))
    try:
        status = httpx.post(f"{url}/v1/slides", content=blocks, timeout=60).status_code
    except (httpx.WriteError, httpx.ReadError):  # the answer came while we were still sending
        status = 413
    assert status == 413
    wait_until_nothing_is_left(api)


def test_body_that_stops_coming_is_given_up(api: Api, url: str, workshop: Workshop) -> None:
    answer = raw_exchange(url, head(5000) + b"II*\0", half_close=False)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"/problems/upload-stalled" in answer
    wait_until_nothing_is_left(api)


def test_body_without_a_length_is_stored(api: Api, url: str, workshop: Workshop) -> None:
    body = workshop.slide_bytes(seed=92)
    blocks = iter([body[:100], body[100:]])
    answer = httpx.post(f"{url}/v1/slides", content=blocks, timeout=60)
    assert answer.status_code == 201
    assert answer.json()["size_bytes"] == len(body)


def test_events_come_while_the_job_runs(api: Api, url: str) -> None:
    job = api.submit(api.upload(seed=93))
    with httpx.stream("GET", url + job["links"]["events"], timeout=20) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "event: state"
        claimed = api.claim()
        api.service.queue.heartbeat(claimed, "score", 6, 24)
        assert any('"stage":"score"' in line for line in lines)
        api.finish(claimed)
        assert any('"state":"succeeded"' in line for line in lines)
        assert list(lines)[-1:] in ([], [""])


def test_listener_that_goes_away_is_forgotten(api: Api, url: str) -> None:
    job = api.submit(api.upload(seed=94))
    with httpx.stream("GET", url + job["links"]["events"], timeout=20) as answer:
        lines = answer.iter_lines()  # held: without it the connection would close at once
        assert next(lines) == "event: state"
        assert api.service.watcher.is_watched
    for _ in range(1000):
        if not api.service.watcher.is_watched:
            break
        time.sleep(0.01)
    assert not api.service.watcher.is_watched
    api.finish()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_command_of_the_manual_makes_a_picture(
    api: Api, url: str, workshop: Workshop, tmp_path: Path
) -> None:
    slide, picture = tmp_path / "slide.svs", tmp_path / "heatmap.png"
    slide.write_bytes(workshop.slide_bytes(seed=95))
    command = [
        "curl", "-sS", "-X", "POST", "-T", str(slide), "-H", "Accept: image/png",
        "-H", "Prefer: wait=60", f"{url}/v1/heatmaps", "-o", str(picture), "-w", "%{http_code}",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as curl:
        while not api.service.queue.page("local", limit=1, state=JobState.QUEUED):
            assert curl.poll() is None
            time.sleep(0.01)
        api.finish()
        assert curl.communicate(timeout=30)[0] == "200"
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_forgotten_data_binary_type_is_explained_to_curl(
    url: str, workshop: Workshop, tmp_path: Path
) -> None:
    slide = tmp_path / "slide.svs"
    slide.write_bytes(workshop.slide_bytes())
    command = ["curl", "-sS", "--data-binary", f"@{slide}", f"{url}/v1/heatmaps"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert f"curl -X POST -T slide.svs -H 'Accept: image/png' -H 'Prefer: wait=60' {url}" in (
        answer.stdout
    )


def test_events_text_is_read_as_browsers_do() -> None:
    text = "event: state\ndata: {}\nid: 7\n\n: ping\n\nevent: progress\ndata: 1\nid: 8\n\n"
    assert [event["id"] for event in events_of(text)] == ["7", "8"]
