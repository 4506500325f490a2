"""Jobs over HTTP: asking, waiting, following, cancelling."""

import json
from contextlib import nullcontext
from pathlib import Path

import pytest

from service.asking import submit_now
from service.errors import NotFound
from service.problems import problem
from service.submission import Asked
from tests.service.api.harness import Api, Workshop, at_once, events_of
from wsi.store.journal import FolderLock

JOB = "job_01K0F7X8Z6T5Q4N3M2J1H0G9FE"


def test_job_of_a_slide_runs_and_succeeds(api: Api) -> None:
    job = api.submit(api.upload())
    assert (job["state"], job["model"], job["attempt"]) == ("queued", "mean-channel", 0)
    claimed = api.claim()
    api.service.queue.heartbeat(claimed, "score", 6, 24)
    job = api.get(job["links"]["self"]).json()
    assert (job["state"], job["stage"], job["done"], job["total"]) == ("running", "score", 6, 24)
    api.finish(claimed)
    job = api.get(job["links"]["self"]).json()
    assert job["state"] == "succeeded"
    assert job["links"]["result"] == f"/v1/results/{job['result_id']}"


def test_state_of_a_job_is_never_kept(api: Api) -> None:
    job = api.submit(api.upload())
    for url in ("/v1/jobs", job["links"]["self"]):
        assert api.get(url).headers["cache-control"] == "no-store"


def test_finished_work_is_answered_at_once(api: Api) -> None:
    first = api.finished()
    again = api.submit(first["slide_id"])
    assert (again["state"], again["cached"], again["result_id"]) == (
        "succeeded",
        True,
        first["result_id"],
    )
    assert again["id"] != first["id"]


def test_a_slide_that_is_deleted_while_a_job_is_asked_for_is_missing(api: Api) -> None:
    slide = api.service.library.get("local", api.upload())
    api.delete(f"/v1/slides/{slide.id}").raise_for_status()
    offered = api.service.catalogue.get(None)
    with pytest.raises(NotFound, match="no such slide"):
        submit_now(api.service, slide, offered, Asked(), None)
    assert api.get("/v1/jobs").json()["items"] == []


def test_outputs_and_parameters_reach_the_worker(api: Api) -> None:
    api.submit(
        api.upload(),
        model="mean-channel",
        params={"mpp": 0.5, "stride": 8, "mask": "none", "min_tissue": 0.2, "icc": True},
        outputs=["report", "png"],
        priority=3,
    )
    job = api.claim()
    assert job.priority == 3
    assert {name: job.request[name] for name in ("mpp", "stride_px", "mask", "min_tissue")} == {
        "mpp": 0.5,
        "stride_px": 8,
        "mask": "none",
        "min_tissue": 0.2,
    }
    assert job.request["icc"] is True
    assert job.request["formats"] == [
        "ome-zarr", "png", "csv", "geojson", "regions", "ome-tiff", "report"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "slug"),
    [
        ({"model": "nobody"}, "unknown-model"),
        ({"params": {"stride": 17}}, "invalid-option"),
        ({"params": {"mask": "/etc/passwd"}}, "invalid-option"),
        ({"params": {"mpp": 1000}}, "invalid-body"),
        ({"outputs": ["word-document"]}, "invalid-body"),
        ({"priority": 101}, "invalid-body"),
        ({"colour": "red"}, "invalid-body"),
    ],
)
def test_wrong_field_is_named(api: Api, fields: dict, slug: str) -> None:
    answer = api.post("/v1/jobs", json={"slide_id": api.upload(), **fields})
    assert (answer.status_code, answer.json()["type"]) == (422, f"/problems/{slug}")
    assert "passwd" not in answer.json()["detail"].replace("'/etc/passwd'", "")


def test_body_that_is_no_json_is_refused(api: Api) -> None:
    headers = {"content-type": "application/json"}
    answer = api.post("/v1/jobs", content=b'{"slide_id": ', headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-body")


def test_slide_that_does_not_exist_is_not_found(api: Api) -> None:
    assert api.post("/v1/jobs", json={"slide_id": "sld_0"}).status_code == 404


def test_queue_that_is_full_says_when_to_come_again(workshop: Workshop, tmp_path: Path) -> None:
    with Api(workshop, tmp_path / "data", max_queued=1) as api:
        api.submit(api.upload(1))
        answer = api.post("/v1/jobs", json={"slide_id": api.upload(2)})
    assert (answer.status_code, answer.json()["type"]) == (429, "/problems/queue-full")
    assert int(answer.headers["retry-after"]) > 0


def test_pages_hold_each_job_once_newest_first(api: Api) -> None:
    slide = api.upload()
    asked = [api.submit(slide, params={"stride": stride})["id"] for stride in range(1, 8)]
    seen, cursor = [], None
    while True:
        url = "/v1/jobs?limit=3" + (f"&cursor={cursor}" if cursor else "")
        page = api.get(url).json()
        assert len(page["items"]) <= 3
        seen += [job["id"] for job in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == sorted(asked, reverse=True)


def test_list_shows_one_state_and_positions(api: Api) -> None:
    slide = api.upload()
    for stride in (1, 2, 3):
        api.submit(slide, params={"stride": stride})
    api.finish()
    assert len(api.get("/v1/jobs?state=succeeded").json()["items"]) == 1
    queued = api.get("/v1/jobs?state=queued").json()["items"]
    assert [job["queue_position"] for job in queued] == [1, 0]


def test_wait_ends_with_the_final_state(api: Api) -> None:
    job = api.submit(api.upload())
    asked = api.ask("GET", f"{job['links']['self']}?wait=20")
    api.finish()
    assert asked.result(20).json()["state"] == "succeeded"


def test_wait_that_is_over_answers_the_state_of_now(workshop: Workshop, tmp_path: Path) -> None:
    with Api(workshop, tmp_path / "data", max_wait_s=0.3) as api:
        job = api.submit(api.upload())
        assert api.get(f"{job['links']['self']}?wait=3600").json()["state"] == "queued"


def test_failure_is_told_as_a_problem(api: Api) -> None:
    job = api.submit(api.upload())
    api.fail(problem("decoder-crashed", "reading the slide ended the reader twice"))
    error = api.get(job["links"]["self"]).json()["error"]
    assert (error["type"], error["status"]) == ("/problems/decoder-crashed", 422)


def test_queued_job_is_cancelled_at_once(api: Api) -> None:
    job = api.submit(api.upload())
    answer = api.post(job["links"]["cancel"])
    assert (answer.status_code, answer.json()["state"]) == (202, "cancelled")
    assert api.post(job["links"]["cancel"]).status_code == 202


@pytest.mark.parametrize("is_written", [False, True])
def test_job_cancelled_between_two_attempts_leaves_nothing_on_the_disk(
    api: Api, is_written: bool
) -> None:
    """Unless an attempt of before goes on in spite of it: then that one takes it away."""
    job = api.submit(api.upload())
    claimed = api.claim()
    partial = api.data / "results" / f"{claimed.result_id}.partial"
    partial.mkdir(parents=True)
    (partial / "scores").write_bytes(b"12345")
    assert api.service.queue.fail(claimed, {}, retry_in_s=60)

    with FolderLock(partial) if is_written else nullcontext():
        assert api.post(job["links"]["cancel"]).json()["state"] == "cancelled"
        assert partial.exists() == is_written


def test_running_job_is_cancelled_by_its_worker(api: Api) -> None:
    job = api.submit(api.upload())
    claimed = api.claim()
    assert api.post(job["links"]["cancel"]).json()["state"] == "running"
    assert api.service.queue.confirm_cancel(claimed)
    assert api.get(job["links"]["self"]).json()["state"] == "cancelled"


def test_finished_job_cannot_be_cancelled(api: Api) -> None:
    answer = api.post(api.finished()["links"]["cancel"])
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/conflict")


def test_same_key_is_the_same_job_however_many_ask_at_once(api: Api) -> None:
    slide = api.upload()
    headers = {"Idempotency-Key": "one"}
    jobs = at_once([lambda: api.submit(slide, headers=headers)["id"]] * 8)
    assert len(set(jobs)) == 1
    assert len(api.get("/v1/jobs").json()["items"]) == 1


def test_same_key_with_other_work_is_a_mismatch(api: Api) -> None:
    slide, headers = api.upload(), {"Idempotency-Key": "one"}
    api.submit(slide, headers=headers)
    body = {"slide_id": slide, "params": {"stride": 8}}
    answer = api.post("/v1/jobs", json=body, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/idempotency-mismatch")


def test_events_tell_progress_and_end_with_the_final_state(api: Api) -> None:
    job = api.submit(api.upload())
    asked = api.ask("GET", job["links"]["events"])
    wait_until_watched(api)
    claimed = api.claim()
    api.service.queue.heartbeat(claimed, "score", 6, 24)
    api.finish(claimed)
    answer = asked.result(20)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = events_of(answer.text)
    assert (events[0]["event"], json.loads(events[0]["data"])["state"]) == ("state", "queued")
    last = json.loads(events[-1]["data"])
    assert (events[-1]["event"], last["state"]) == ("state", "succeeded")
    assert last["links"]["result"] is not None
    numbers = [int(event["id"]) for event in events]
    assert numbers == sorted(set(numbers))


def wait_until_watched(api: Api) -> None:
    while not api.service.watcher.is_watched:
        pass


def test_events_of_a_finished_job_are_its_final_state(api: Api) -> None:
    job = api.finished()
    events = events_of(api.get(job["links"]["events"]).text)
    assert [event["event"] for event in events] == ["state"]
    # also for a client that has seen it: it may have missed that it was the end
    headers = {"Last-Event-ID": events[0]["id"]}
    again = events_of(api.get(job["links"]["events"], headers=headers).text)
    assert json.loads(again[-1]["data"])["state"] == "succeeded"


def test_events_go_on_after_the_last_one_that_was_seen(api: Api) -> None:
    job = api.submit(api.upload())
    first = api.service.queue.get("local", job["id"])
    seen = str(int(first.updated_at * 1e6))
    asked = api.ask("GET", job["links"]["events"], headers={"Last-Event-ID": seen})
    wait_until_watched(api)
    api.finish()
    events = events_of(asked.result(20).text)
    assert "queued" not in [json.loads(event["data"])["state"] for event in events]
    assert all(int(event["id"]) > int(seen) for event in events)


def test_events_end_when_the_server_shuts_down(api: Api) -> None:
    job = api.submit(api.upload())
    asked = api.ask("GET", job["links"]["events"])
    wait_until_watched(api)
    api.run(_close(api))
    assert events_of(asked.result(20).text)[-1]["event"] == "state"


async def _close(api: Api) -> None:
    api.service.watcher.close()


@pytest.mark.parametrize("path", ["", "/events", "?wait=1"])
def test_job_that_does_not_exist_is_not_found(api: Api, path: str) -> None:
    answer = api.get(f"/v1/jobs/{JOB}{path}")
    assert (answer.status_code, answer.headers["content-type"]) == (
        404,
        "application/problem+json",
    )
