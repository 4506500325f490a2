"""Slides over HTTP."""

import hashlib
import os
from pathlib import Path

import pytest

from tests.service.api.harness import Api, Workshop


def test_slide_is_stored_once(api: Api, workshop: Workshop) -> None:
    first = api.post("/v1/slides", content=workshop.slide_bytes())
    again = api.post("/v1/slides", content=workshop.slide_bytes())
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.headers["location"] == f"/v1/slides/{first.json()['id']}"
    assert first.json() == again.json()
    assert first.json()["sha256"] == hashlib.sha256(workshop.slide_bytes()).hexdigest()
    assert first.json()["size0"] is None


def test_what_a_reader_found_is_told(api: Api) -> None:
    slide = api.upload()
    api.service.library.set_facts("local", slide, {"size0": [96, 64], "mpp": [0.5, 0.5]})
    found = api.get(f"/v1/slides/{slide}").json()
    assert (found["size0"], found["mpp"]) == ([96, 64], [0.5, 0.5])


def test_slide_below_a_shared_folder_is_named_by_its_path(
    workshop: Workshop, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    (shared / "2026").mkdir(parents=True)
    (shared / "2026" / "a.tiff").write_bytes(workshop.slide_bytes())
    with Api(workshop, tmp_path / "data", slide_roots=(shared,)) as api:
        answer = api.post("/v1/slides", json={"path": "2026/a.tiff"})
        assert answer.status_code == 201
        assert answer.json()["kind"] == "path"
        assert str(tmp_path) not in answer.text
        for path, status in (("2026/b.tiff", 404), ("../data/wsi.sqlite3", 400)):
            answer = api.post("/v1/slides", json={"path": path})
            assert answer.status_code == status
            assert str(tmp_path) not in answer.text


def test_a_slide_that_was_replaced_in_its_place_is_shown_no_more(
    workshop: Workshop, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    slide = shared / "a.tiff"
    slide.write_bytes(workshop.slide_bytes(1))
    with Api(workshop, tmp_path / "data", slide_roots=(shared,)) as api:
        url = api.post("/v1/slides", json={"path": "a.tiff"}).json()["links"]["dzi"]
        before = api.get(url).status_code
        later = slide.stat().st_mtime + 10
        os.utime(slide, (later, later))
        api.service.viewing.slides.clear()
        touched = api.get(url).status_code
        slide.write_bytes(workshop.slide_bytes(2))
        os.utime(slide, (later + 1, later + 1))
        api.service.viewing.slides.clear()
        replaced = api.get(url)
    assert (before, touched) == (200, 200)
    assert (replaced.status_code, replaced.json()["type"]) == (409, "/problems/slide-changed")


@pytest.mark.parametrize("body", [{}, {"path": "a", "upload_id": "b"}, {"url": "x"}, []])
def test_reference_that_names_not_one_thing_is_refused(api: Api, body: object) -> None:
    answer = api.post("/v1/slides", json=body)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-body")


def test_upload_that_does_not_exist_is_not_found(api: Api) -> None:
    assert api.post("/v1/slides", json={"upload_id": "upl_0"}).status_code == 404


def test_long_json_is_refused(workshop: Workshop, tmp_path: Path) -> None:
    with Api(workshop, tmp_path / "data", max_json_bytes=100) as api:
        assert api.post("/v1/slides", json={"path": "a" * 200}).status_code == 413
        answer = api.post("/v1/jobs", json={"slide_id": "a" * 200})
        assert (answer.status_code, answer.json()["type"]) == (413, "/problems/too-large")


def test_pages_hold_each_slide_once(api: Api) -> None:
    stored = [api.upload(seed) for seed in range(1, 6)]
    first = api.get("/v1/slides?limit=3").json()
    second = api.get(f"/v1/slides?limit=3&cursor={first['next_cursor']}").json()
    seen = [slide["id"] for slide in first["items"] + second["items"]]
    assert seen == sorted(stored, reverse=True)
    assert second["next_cursor"] is None


def test_slide_that_a_job_needs_is_not_deleted(api: Api) -> None:
    job = api.submit(api.upload())
    url = job["links"]["slide"]
    assert api.delete(url).status_code == 409
    api.finish()
    assert api.delete(url).status_code == 204
    assert api.get(url).status_code == 404
    assert api.get(api.get(job["links"]["self"]).json()["links"]["result"]).status_code == 200


def test_object_has_an_etag(api: Api) -> None:
    url = f"/v1/slides/{api.upload()}"
    etag = api.get(url).headers["etag"]
    assert api.get(url, headers={"If-None-Match": etag}).status_code == 304
    slide = url.rpartition("/")[2]
    api.service.library.set_facts("local", slide, {"size0": [96, 64]})
    assert api.get(url, headers={"If-None-Match": etag}).status_code == 200
