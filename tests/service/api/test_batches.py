"""Batches over HTTP."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from service.access.auth import Owner
from service.asking import submit_now
from service.batching import begin_batch
from service.deps import Service
from service.errors import Busy
from service.jobs import Snapshot
from service.problems import problem
from service.schemas import BatchRequest
from service.storage.library import Stored, StoredSlide
from tests.service.api.harness import Api, Workshop, at_once


def test_batch_counts_its_jobs(api: Api) -> None:
    slides = [api.upload(seed) for seed in (1, 2, 3)]
    answer = api.post("/v1/batches", json={"slides": slides})
    assert answer.status_code == 202
    batch = answer.json()
    assert (batch["counts"], batch["is_done"], len(batch["jobs"])) == ({"queued": 3}, False, 3)
    api.finish()
    api.finish()
    api.fail(problem("corrupt-slide", "tile 7 cannot be decoded"))
    batch = api.get(answer.headers["location"]).json()
    assert (batch["counts"], batch["is_done"]) == ({"succeeded": 2, "failed": 1}, True)
    assert len(api.get(f"/v1/jobs?batch_id={batch['id']}").json()["items"]) == 3


def test_report_has_a_line_for_each_slide(api: Api) -> None:
    slides = [api.upload(seed) for seed in (1, 2)]
    batch = api.post("/v1/batches", json={"slides": slides}).json()
    api.finish()
    api.fail(problem("corrupt-slide", "tile 7, row 2: it cannot be decoded"))
    answer = api.get(batch["links"]["report"])
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["slide_id"], row["state"], row["problem"]) for row in rows] == [
        (slides[0], "succeeded", ""),
        (slides[1], "failed", "corrupt-slide"),
    ]
    assert rows[0]["result_id"].startswith("res_")
    assert rows[1]["detail"] == "tile 7, row 2: it cannot be decoded"


def test_job_that_is_under_way_already_belongs_to_both(api: Api) -> None:
    job = api.submit(api.upload())
    batch = api.post("/v1/batches", json={"slides": [job["slide_id"]]}).json()
    assert (batch["jobs"], batch["counts"]) == ([job["id"]], {"queued": 1})


def test_slide_that_does_not_exist_refuses_the_batch(api: Api) -> None:
    answer = api.post("/v1/batches", json={"slides": [api.upload(), "sld_0"]})
    assert answer.status_code == 404
    assert api.get("/v1/jobs").json()["items"] == []


def test_slide_that_is_deleted_while_a_batch_is_taken_in_is_a_line_of_its_report(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    slides = [api.upload(seed) for seed in (1, 2, 3)]

    def submit_too_late(service: Service, slide: StoredSlide, *given: Any) -> Snapshot:
        if slide.id == slides[1]:
            service.library.delete(slide.tenant, slide.id)
        return submit_now(service, slide, *given)

    monkeypatch.setattr("service.batching.submit_now", submit_too_late)
    batch = api.post("/v1/batches", json={"slides": slides}).json()
    assert batch["counts"] == {"queued": 2}
    rows = list(csv.DictReader(io.StringIO(api.get(batch["links"]["report"]).text)))
    assert [row["problem"] for row in rows] == ["", "not-found", ""]


def test_batch_that_does_not_fit_the_queue_is_refused_whole(
    workshop: Workshop, tmp_path: Path
) -> None:
    with Api(workshop, tmp_path / "data", max_queued_per_tenant=2) as api:
        slides = [api.upload(seed) for seed in (1, 2, 3)]
        answer = api.post("/v1/batches", json={"slides": slides})
        assert (answer.status_code, answer.json()["type"]) == (429, "/problems/queue-full")
        assert api.get("/v1/jobs").json()["items"] == []


def test_pattern_finds_slides_below_a_shared_folder(workshop: Workshop, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    (shared / "a" / "b").mkdir(parents=True)
    for number, name in enumerate(("a/1.tiff", "a/b/2.tiff", "3.tiff")):
        (shared / name).write_bytes(workshop.slide_bytes(number))
    (shared / "a" / "letter.tiff").write_bytes(b"no slide, but a letter\n" * 20)
    (tmp_path / "outside.tiff").write_bytes(workshop.slide_bytes(9))
    (shared / "a" / "link.tiff").symlink_to(tmp_path / "outside.tiff")
    with Api(workshop, tmp_path / "data", slide_roots=(shared,)) as api:
        body = {"root": "a", "glob": "**/*.tiff"}
        answer = api.post("/v1/batches", json=body, headers={"Idempotency-Key": "k"})
        batch = answer.json()
        assert (batch["counts"], batch["refused"]) == ({"queued": 2}, 1)
        report = api.get(batch["links"]["report"]).text
        rows = {row["name"]: row["problem"] for row in csv.DictReader(io.StringIO(report))}
        assert rows == {"1.tiff": "", "b/2.tiff": "", "letter.tiff": "unsupported-format"}
        assert str(tmp_path) not in answer.text + report
        again = api.post("/v1/batches", json=body, headers={"Idempotency-Key": "k"})
        assert again.json()["jobs"] == batch["jobs"]
        whole = api.post("/v1/batches", json={"root": str(shared), "glob": "*.tiff"}).json()
        assert whole["counts"] == {"queued": 1}


def test_batch_that_takes_too_long_goes_on_where_it_ended(
    workshop: Workshop, tmp_path: Path
) -> None:
    """A request that may wait no time at all takes one slide. A file that comes in between is
    taken too, and none twice."""
    shared = tmp_path / "shared"
    shared.mkdir()
    for number, name in enumerate(("b.tiff", "c.tiff", "d.tiff")):
        (shared / name).write_bytes(workshop.slide_bytes(number))
    body, headers = {"root": str(shared), "glob": "*.tiff"}, {"Idempotency-Key": "k"}
    with Api(workshop, tmp_path / "data", slide_roots=(shared,), max_wait_s=0) as api:
        answer = api.post("/v1/batches", json=body, headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/busy")
        assert "1 of 3 slides are in" in answer.json()["detail"]
        assert int(answer.headers["retry-after"]) > 0
        (shared / "a.tiff").write_bytes(workshop.slide_bytes(7))
        for _ in range(2):
            assert api.post("/v1/batches", json=body, headers=headers).status_code == 503
        batch = api.post("/v1/batches", json=body, headers=headers).json()
        report = api.get(batch["links"]["report"]).text
        names = [row["name"] for row in csv.DictReader(io.StringIO(report))]
        assert names == ["b.tiff", "a.tiff", "c.tiff", "d.tiff"]
        assert (batch["counts"], len(api.get("/v1/jobs").json()["items"])) == ({"queued": 4}, 4)


def test_batch_that_a_shutdown_cuts_off_goes_on_afterwards(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    for number in range(3):
        (shared / f"{number}.tiff").write_bytes(workshop.slide_bytes(number))
    body, headers = {"root": str(shared), "glob": "*.tiff"}, {"Idempotency-Key": "k"}
    with Api(workshop, tmp_path / "data", slide_roots=(shared,)) as api:
        add = api.service.library.add_path

        def add_while_open(tenant: str, path: str) -> Stored:
            if path.endswith("1.tiff"):
                raise Busy("the service is being shut down")
            return add(tenant, path)

        with monkeypatch.context() as patched:
            patched.setattr(api.service.library, "add_path", add_while_open)
            cut_off = api.post("/v1/batches", json=body, headers=headers)
        batch = api.post("/v1/batches", json=body, headers=headers).json()

    assert (cut_off.status_code, cut_off.json()["type"]) == (503, "/problems/busy")
    assert (len(batch["jobs"]), batch["counts"]) == (3, {"queued": 3})


def test_slides_of_a_request_that_overtakes_another_leave_nothing_out(
    workshop: Workshop, tmp_path: Path
) -> None:
    """The second request, with the key of the first, sees one file less, and ends before it."""
    shared = tmp_path / "shared"
    shared.mkdir()
    for number, name in enumerate(("a.tiff", "b.tiff", "c.tiff")):
        (shared / name).write_bytes(workshop.slide_bytes(number))
    body, owner = BatchRequest(root=str(shared), glob="*.tiff"), Owner("local")
    with Api(workshop, tmp_path / "data", slide_roots=(shared,)) as api:

        def overtake() -> bool:
            (shared / "b.tiff").rename(tmp_path / "b.tiff")
            begin_batch(api.service, owner, body, "k")
            (tmp_path / "b.tiff").rename(shared / "b.tiff")
            return False

        batch_id = begin_batch(api.service, owner, body, "k", is_over=overtake)
        assert api.service.batches.names(batch_id) == {0: "a.tiff", 1: "c.tiff", 2: "b.tiff"}
        assert begin_batch(api.service, owner, body, "k") == batch_id
        assert len(api.service.batches.get("local", batch_id).jobs) == 3


def test_rest_of_a_batch_has_to_fit_the_queue_and_not_the_whole(
    workshop: Workshop, tmp_path: Path
) -> None:
    with Api(workshop, tmp_path / "data", max_queued_per_tenant=3, max_wait_s=0) as api:
        body = {"slides": [api.upload(seed) for seed in (1, 2, 3)]}
        headers = {"Idempotency-Key": "k"}
        answers = [api.post("/v1/batches", json=body, headers=headers) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503, 503, 202]
    assert answers[2].json()["counts"] == {"queued": 3}


@pytest.mark.parametrize(
    ("root", "glob", "status"),
    [
        ("a", "../*.tiff", 400),
        ("a", "**a", 400),
        ("a", ".", 400),
        ("a", "/etc/*", 400),
        ("a", "*.svs", 400),
        ("../data", "*", 400),
        ("nowhere", "*", 404),
        ("/etc", "*", 404),
    ],
)
def test_pattern_never_leaves_the_shared_folders(
    workshop: Workshop, tmp_path: Path, root: str, glob: str, status: int
) -> None:
    (tmp_path / "shared" / "a").mkdir(parents=True)
    (tmp_path / "secret.tiff").write_bytes(workshop.slide_bytes())
    with Api(workshop, tmp_path / "data", slide_roots=(tmp_path / "shared",)) as api:
        answer = api.post("/v1/batches", json={"root": root, "glob": glob})
    assert answer.status_code == status
    assert str(tmp_path) not in answer.text


@pytest.mark.parametrize(
    "body", [{}, {"slides": []}, {"root": "a"}, {"slides": ["a"], "root": "a", "glob": "*"}]
)
def test_batch_of_neither_or_both_is_refused(api: Api, body: dict) -> None:
    assert api.post("/v1/batches", json=body).status_code == 422


def test_same_key_is_the_same_batch_however_many_ask_at_once(api: Api) -> None:
    body = {"slides": [api.upload(seed) for seed in (1, 2)]}
    headers = {"Idempotency-Key": "one"}
    answers = at_once([lambda: api.post("/v1/batches", json=body, headers=headers)] * 6)
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(api.get("/v1/jobs").json()["items"]) == 2
    other = {"slides": body["slides"][:1]}
    answer = api.post("/v1/batches", json=other, headers=headers)
    assert answer.json()["type"] == "/problems/idempotency-mismatch"


def test_batch_that_does_not_exist_is_not_found(api: Api) -> None:
    for path in ("", "/report.csv"):
        assert api.get(f"/v1/batches/bat_0{path}").status_code == 404
