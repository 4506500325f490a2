"""What a key may keep, asked over HTTP."""

from pathlib import Path

from service.access.keys import ApiKeys
from tests.service.api.harness import Api, Workshop


def headers_of(api: Api, quota_bytes: int | None) -> dict[str, str]:
    _, secret = ApiKeys(api.service.engine).create("clinic", "key", quota_bytes=quota_bytes)
    return {"authorization": f"Bearer {secret}"}


def test_a_full_key_is_answered_507_and_another_of_its_tenant_is_not(
    workshop: Workshop, tmp_path: Path
) -> None:
    slides = [workshop.slide_bytes(seed) for seed in (1, 2)]
    with Api(workshop, tmp_path, None, auth=("keys",)) as api:
        small, large = headers_of(api, len(slides[0])), headers_of(api, None)
        stored = api.post("/v1/slides", content=slides[0], headers=small)
        refused = api.post("/v1/slides", content=slides[1], headers=small)
        job = api.post("/v1/jobs", json={"slide_id": stored.json()["id"]}, headers=small)
        other = api.post("/v1/slides", content=slides[1], headers=large)
    assert stored.status_code == 201
    assert (refused.status_code, refused.json()["type"]) == (507, "/problems/quota-exceeded")
    assert (job.status_code, job.json()["type"]) == (507, "/problems/quota-exceeded")
    assert other.status_code == 201


def test_a_full_key_still_gets_what_is_done_already(workshop: Workshop, tmp_path: Path) -> None:
    slide = workshop.slide_bytes(1)
    with Api(workshop, tmp_path, None, auth=("keys",)) as api:
        small, large = headers_of(api, 0), headers_of(api, None)
        stored = api.post("/v1/slides", content=slide, headers=large).json()
        api.post("/v1/jobs", json={"slide_id": stored["id"]}, headers=large)
        api.finish()
        job = api.post("/v1/jobs", json={"slide_id": stored["id"]}, headers=small).json()
    assert (job["state"], job["cached"]) == ("succeeded", True)


def test_a_result_counts_to_the_key_that_asked_for_it(workshop: Workshop, tmp_path: Path) -> None:
    slide = workshop.slide_bytes(1)
    with Api(workshop, tmp_path, None, auth=("keys",)) as api:
        first = headers_of(api, len(slide) + 1)
        stored = api.post("/v1/slides", content=slide, headers=first).json()
        api.post("/v1/jobs", json={"slide_id": stored["id"]}, headers=first)
        api.finish()
        more = {"slide_id": stored["id"], "params": {"stride": 8}}
        refused = api.post("/v1/jobs", json=more, headers=first)
    assert refused.status_code == 507
