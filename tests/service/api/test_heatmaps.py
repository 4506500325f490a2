"""POST a slide, get a heatmap back."""

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.problems import problem
from tests.service.api.harness import Api, Workshop
from tests.service.shelving import files_of

SLIDE = {"content-type": "application/octet-stream"}


def post(api: Api, content: bytes, **options: Any) -> httpx.Response:
    options.setdefault("headers", SLIDE)
    return api.post("/v1/heatmaps", content=content, **options)


def test_slide_is_answered_with_a_job_to_poll(api: Api, workshop: Workshop) -> None:
    answer = post(api, workshop.slide_bytes())
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["state"], job["queue_position"], job["result_id"]) == ("queued", 0, None)
    api.finish()
    job = api.get(answer.headers["location"]).json()
    assert (job["state"], job["error"]) == ("succeeded", None)
    assert api.get(job["links"]["result"]).json()["job_id"] == job["id"]


@pytest.mark.parametrize(
    ("accept", "media_type", "address", "start"),
    [
        ("image/png", "image/png", "heatmap.png", b"\x89PNG"),
        ("image/tiff", "image/tiff", "heatmap.tif", b"II"),
        ("application/geo+json", "application/geo+json", "heatmap.geojson", b'{"type":"Feature'),
        ("application/json", "application/json", "", b'{"id":"res_'),
    ],
)
def test_done_in_time_is_answered_with_the_accepted_type(
    api: Api, workshop: Workshop, accept: str, media_type: str, address: str, start: bytes
) -> None:
    headers = {**SLIDE, "Accept": accept, "Prefer": "wait=20"}
    asked = api.ask("POST", "/v1/heatmaps", content=workshop.slide_bytes(), headers=headers)
    wait_for_a_job(api)
    api.finish()
    answer = asked.result(20)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(media_type)
    assert answer.headers["preference-applied"] == "wait=20"
    assert answer.content.startswith(start)
    place = answer.headers["content-location"]
    assert place.endswith(address)
    assert place.startswith("/v1/results/res_")
    assert api.get(place).content == answer.content


def wait_for_a_job(api: Api) -> None:
    """Until an upload is in the queue."""
    seen = threading.Event()
    while not any(api.service.queue.depth().values()):
        seen.wait(0.01)


def test_tiff_is_the_one_of_the_result(api: Api, workshop: Workshop) -> None:
    post(api, workshop.slide_bytes())
    api.finish()
    answer = post(api, workshop.slide_bytes(), headers={"Accept": "image/tiff"})
    assert answer.content == (workshop.result / "heatmap.ome.tiff").read_bytes()
    assert answer.headers["etag"] == f'"{hashlib.sha256(answer.content).hexdigest()}"'
    assert answer.headers["cache-control"] == "no-store"


def test_same_slide_again_is_answered_from_the_result(api: Api, workshop: Workshop) -> None:
    post(api, workshop.slide_bytes())
    api.finish()
    answer = post(api, workshop.slide_bytes())
    assert answer.status_code == 200
    assert api.service.queue.claim("nobody") is None
    job = api.get(answer.headers["location"]).json()
    assert (job["cached"], job["state"]) == (True, "succeeded")


@pytest.mark.parametrize("query", ["stride=8", "mpp=0.4"])
def test_another_option_is_other_work(api: Api, workshop: Workshop, query: str) -> None:
    post(api, workshop.slide_bytes())
    api.finish()
    assert api.post(f"/v1/heatmaps?{query}", content=workshop.slide_bytes()).status_code == 202


def test_equal_slide_under_way_is_the_same_job(api: Api, workshop: Workshop) -> None:
    first, second = (post(api, workshop.slide_bytes()).json()["id"] for _ in range(2))
    assert first == second


def test_options_reach_the_worker(api: Api, workshop: Workshop) -> None:
    api.post("/v1/heatmaps?mpp=0.25&stride=8&model=mean-channel", content=workshop.slide_bytes())
    request = api.claim().request
    assert (request["mpp"], request["stride_px"]) == (0.25, 8)
    assert request["model"] == workshop.model
    assert "slide" not in request


@pytest.mark.parametrize(
    ("slug", "status"),
    [("no-mpp", 422), ("corrupt-slide", 422), ("unsupported-format", 422), ("no-space", 507)],
)
def test_job_that_fails_in_time_is_its_problem(
    api: Api, workshop: Workshop, slug: str, status: int
) -> None:
    headers = {**SLIDE, "Prefer": "wait=20"}
    asked = api.ask("POST", "/v1/heatmaps", content=workshop.slide_bytes(), headers=headers)
    wait_for_a_job(api)
    api.fail(problem(slug, "the slide says nothing; send ?mpp="))
    answer = asked.result(20)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == f"/problems/{slug}"
    assert answer.json()["detail"] == "the slide says nothing; send ?mpp="


def test_job_cancelled_while_waiting_is_a_conflict(api: Api, workshop: Workshop) -> None:
    headers = {**SLIDE, "Prefer": "wait=20"}
    asked = api.ask("POST", "/v1/heatmaps", content=workshop.slide_bytes(), headers=headers)
    wait_for_a_job(api)
    job = api.get("/v1/jobs").json()["items"][0]
    api.post(job["links"]["cancel"])
    assert asked.result(20).json()["type"] == "/problems/cancelled"


def test_wait_is_capped_by_the_setting(workshop: Workshop, tmp_path: Path) -> None:
    with Api(workshop, tmp_path / "data", max_wait_s=1) as api:
        answer = post(api, workshop.slide_bytes(), headers={"Prefer": "wait=3600"})
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "wait=1"


def test_web_form_is_told_the_right_command(api: Api) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = post(api, b"slide", headers=headers)
    assert answer.status_code == 415
    assert "curl -X POST -T slide.svs" in answer.json()["detail"]
    assert "http://wsi.test/v1/heatmaps" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("query", "status", "slug"),
    [
        ("mpp=1000", 400, "invalid-request"),
        ("mpp=nan", 400, "invalid-request"),
        ("stride=0", 400, "invalid-request"),
        ("stride=17", 422, "invalid-option"),  # the model's tiles have 16 px
        ("strid=8", 400, "invalid-request"),
        ("model=nobody", 422, "unknown-model"),
    ],
)
def test_wrong_option_is_refused_before_the_slide_is_stored(
    api: Api, workshop: Workshop, query: str, status: int, slug: str
) -> None:
    answer = api.post(f"/v1/heatmaps?{query}", content=workshop.slide_bytes())
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{slug}")
    assert api.get("/v1/slides").json()["items"] == []


def test_type_that_is_not_made_is_refused_before_the_slide_is_stored(
    api: Api, workshop: Workshop
) -> None:
    answer = post(api, workshop.slide_bytes(), headers={"Accept": "video/mp4"})
    assert answer.status_code == 406
    assert api.get("/v1/slides").json()["items"] == []


def test_text_file_is_no_slide_and_nothing_is_left(api: Api) -> None:
    answer = post(api, b"hello, this is a letter and no slide\n" * 100)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/unsupported-format")
    assert [name for name in files_of(api.data) if not name.startswith("secrets")] == []


def test_truncated_slide_is_refused(api: Api, workshop: Workshop) -> None:
    answer = post(api, workshop.slide_bytes()[:300])
    assert answer.status_code == 422


def test_digest_that_does_not_fit_is_refused(api: Api, workshop: Workshop) -> None:
    headers = {"Content-Digest": "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"}
    answer = post(api, workshop.slide_bytes(), headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/checksum-mismatch")


def test_slide_over_the_limit_is_too_large(workshop: Workshop, tmp_path: Path) -> None:
    with Api(workshop, tmp_path / "data", max_slide_bytes=500) as api:
        answer = post(api, workshop.slide_bytes())
    assert (answer.status_code, answer.json()["type"]) == (413, "/problems/too-large")


def test_multipart_form_is_taken(api: Api, workshop: Workshop) -> None:
    answer = api.post(
        "/v1/heatmaps",
        data={"stride": "8"},
        files={"slide": ("a name of a patient.svs", workshop.slide_bytes())},
    )
    assert answer.status_code == 202
    job = api.claim()
    assert job.request["stride_px"] == 8
    slide = api.service.library.get("local", job.slide_id)
    assert slide.path.read_bytes() == workshop.slide_bytes()
    assert "patient" not in json.dumps(answer.json()) + str(slide.path)


def test_multipart_form_over_its_limit_is_too_large(workshop: Workshop, tmp_path: Path) -> None:
    with Api(workshop, tmp_path / "data", max_form_bytes=600) as api:
        answer = api.post("/v1/heatmaps", files={"slide": ("s", workshop.slide_bytes())})
        assert answer.status_code == 413
        assert "curl" in answer.json()["detail"]
        assert api.get("/v1/slides").json()["items"] == []


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'--b\r\nContent-Disposition: form-data; name="mpp"\r\n\r\n1\r\n--b--\r\n', "no file"),
        (b"--b\r\nnonsense", "no file"),
        (b"nonsense", "cannot be read"),
        (
            b'--b\r\nContent-Disposition: form-data; name="s"; filename="s"\r\n\r\nII*\0',
            "ended in the middle",
        ),
        (
            b'--b\r\nContent-Disposition: form-data; name="s"; filename="s"\r\n\r\nII*\0\r\n--b\r\n'
            b'Content-Disposition: form-data; name="mpp"\r\n\r\n1\r\n--b--\r\n',
            "fields first",
        ),
    ],
)
def test_broken_form_is_refused(api: Api, body: bytes, says: str) -> None:
    headers = {"content-type": "multipart/form-data; boundary=b"}
    answer = post(api, body, headers=headers)
    assert answer.status_code == 400
    assert says in answer.json()["detail"]
    assert api.get("/v1/slides").json()["items"] == []


def test_key_with_another_slide_is_a_mismatch(api: Api, workshop: Workshop) -> None:
    headers = {**SLIDE, "Idempotency-Key": "one"}
    assert post(api, workshop.slide_bytes(1), headers=headers).status_code == 202
    answer = post(api, workshop.slide_bytes(2), headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/idempotency-mismatch")
