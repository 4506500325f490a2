"""Whether the process is alive, whether it is ready, and what it offers."""

from pathlib import Path

import pytest

from service.settings import GIB
from tests.service.api.harness import Api, Workshop


def reasons(api: Api) -> dict[str, str]:
    """What is not well, by name."""
    answer = api.get("/readyz")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) > 0
    return {each["name"]: each["detail"] for each in answer.json()["checks"] if not each["ok"]}


def test_process_lives_and_is_ready_once_a_worker_does(api: Api) -> None:
    assert api.get("/livez").status_code == 200
    assert list(reasons(api)) == ["worker"]
    api.service.queue.beat("w1", {"device": "cpu"})
    answer = api.get("/readyz")
    assert (answer.status_code, answer.json()["ready"]) == (200, True)
    assert answer.headers["cache-control"] == "no-store"


def test_worker_that_was_not_seen_for_a_lease_does_not_count(
    workshop: Workshop, tmp_path: Path
) -> None:
    with Api(workshop, tmp_path / "data", lease_s=0) as api:
        api.service.queue.beat("w1", {})
        assert list(reasons(api)) == ["worker"]


def test_disk_below_its_floor_is_a_reason(workshop: Workshop, tmp_path: Path) -> None:
    with Api(workshop, tmp_path / "data", disk_floor_bytes=10**6 * GIB) as api:
        api.service.queue.beat("w1", {})
        assert list(reasons(api)) == ["disk"]


def test_database_that_is_away_is_a_reason_and_no_crash(api: Api) -> None:
    api.service.queue.beat("w1", {})
    api.service.engine.dispose()
    for path in api.data.glob("wsi.sqlite3*"):
        path.unlink()
    (api.data / "wsi.sqlite3").mkdir()
    assert "database" in reasons(api)
    assert api.get("/livez").status_code == 200
    answer = api.get("/v1/jobs")
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/busy")
    assert "sqlite" not in answer.text


@pytest.mark.parametrize(
    ("facts", "well"),
    [
        ({"sandbox": {"wanted": "required", "landlock": True}}, True),
        ({"sandbox": {"wanted": "best", "landlock": False}}, False),
        ({}, False),
    ],
)
def test_worker_without_the_required_confinement_is_a_reason(
    workshop: Workshop, tmp_path: Path, facts: dict, well: bool
) -> None:
    with Api(workshop, tmp_path / "data", sandbox="required") as api:
        api.service.queue.beat("w1", facts)
        if well:
            assert api.get("/readyz").status_code == 200
        else:
            assert list(reasons(api)) == ["sandbox"]


def test_process_that_shuts_down_is_not_ready(api: Api) -> None:
    api.service.queue.beat("w1", {})
    api.service.watcher.close()
    assert list(reasons(api)) == ["process"]


def test_metrics_count_the_jobs_that_wait_and_run(api: Api) -> None:
    api.finished(seed=1)
    for seed in (2, 3, 4):
        api.submit(api.upload(seed))
    api.claim()
    lines = api.get("/metrics").text.splitlines()
    assert [line for line in lines if line.startswith("wsi_jobs{")] == [
        'wsi_jobs{state="queued"} 2.0',
        'wsi_jobs{state="running"} 1.0',
    ]


def test_models_are_listed_with_their_cards(api: Api, workshop: Workshop) -> None:
    (model,) = api.get("/v1/models").json()["items"]
    assert (model["name"], model["is_default"]) == ("mean-channel", True)
    assert model["sha256"] == workshop.card.sha256
    found = api.get("/v1/models/mean-channel")
    assert found.json() == model
    assert workshop.model not in found.text
    headers = {"If-None-Match": found.headers["etag"]}
    assert api.get("/v1/models/mean-channel", headers=headers).status_code == 304
    assert api.get("/v1/models/nobody").status_code == 404
