"""R15: two tenants with real keys, every route of the application, every verb.

The routes come from the application itself: one whose parameter is not known here fails the test,
and one that forgets to ask whose thing it is shows another's bytes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from service.access.keys import ApiKeys
from service.ids import new_id
from tests.reliability.report import report
from tests.service.api.harness import Api, make_workshop

pytestmark = [pytest.mark.slow, pytest.mark.reliability]

VERBS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE")
OWNED = ("slide_id", "job_id", "result_id", "batch_id")
NUMBERS = ("level", "column", "row", "z", "x", "y")
OTHERS = {"name": "index.html", "key": "zarr.json", **dict.fromkeys(NUMBERS, "0")}
QUERY = {"x0": "1", "y0": "1"}
OPEN = {"/livez", "/readyz", "/openapi.json", "/viewer", "/viewer/assets/{name}"}
"""What anybody may ask: it holds nothing of a tenant."""


@dataclass(frozen=True)
class Tenants:
    api: Api
    owner: Mapping[str, str]  # header fields of a request
    thief: Mapping[str, str]
    ids: Mapping[str, str]  # of the owner's things, by parameter
    missing: Mapping[str, str]  # of things that never were
    token: str  # of the owner's result


@pytest.fixture
def tenants(tmp_path: Path) -> Iterator[Tenants]:
    workshop = make_workshop(tmp_path / "workshop")
    with Api(workshop, tmp_path / "data", None, auth=("keys",), max_wait_s=0.05) as api:
        keys = ApiKeys(api.service.engine)
        owner, thief = (
            {"Authorization": f"Bearer {keys.create(name, name)[1]}"} for name in ("ann", "bob")
        )
        job = api.finished(headers=owner)
        api.service.library.set_facts("ann", job["slide_id"], {"size0": [96, 64]})
        slides = {"slides": [job["slide_id"]]}
        batch = api.post("/v1/batches", json=slides, headers=owner).json()
        ids = {
            "slide_id": job["slide_id"],
            "job_id": job["id"],
            "result_id": job["result_id"],
            "batch_id": batch["id"],
        }
        missing = {name: new_id(value.partition("_")[0]) for name, value in ids.items()}
        token = api.post(f"/v1/results/{ids['result_id']}/token", headers=owner).json()["token"]
        yield Tenants(api, owner, thief, ids, missing, token)


def paths_of(api: Api) -> list[str]:
    """Of all routes, those that the document leaves out as well."""
    return sorted({route.path for route in iter_route_contexts(api.app.routes) if route.path})


def address(path: str, ids: Mapping[str, str]) -> str:
    """Raises KeyError of a parameter that this test does not know: say whose it is."""
    plain = path
    for kind in (":path", ":number"):
        plain = plain.replace(kind, "")
    return plain.format_map({**OTHERS, **ids})


def body_of(path: str, ids: Mapping[str, str]) -> dict[str, Any]:
    """What a POST there may name."""
    bodies = {
        "/v1/jobs": {"slide_id": ids["slide_id"]},
        "/v1/batches": {"slides": [ids["slide_id"]]},
    }
    return {"json": bodies[path]} if path in bodies else {}


def shape(answer: httpx.Response, ids: Mapping[str, str]) -> tuple[object, ...]:
    """All of an answer but what names the request or the thing."""
    text = answer.text.replace(answer.headers["x-request-id"], "")
    for name, value in ids.items():
        text = text.replace(value, name)
    left_out = ("x-request-id", "date")
    fields = {name: value for name, value in answer.headers.items() if name not in left_out}
    return answer.status_code, tuple(sorted(fields.items())), text


def test_what_another_tenant_has_is_as_if_it_never_was(tenants: Tenants) -> None:
    api, wrong, tried, seen = tenants.api, [], 0, 0
    for path in paths_of(api):
        foreign, missing = address(path, tenants.ids), address(path, tenants.missing)
        names_owned = foreign != missing
        for verb in VERBS:
            if names_owned and verb == "GET" and not path.endswith("/events"):  # fills the caches
                owners = api.request(verb, foreign, params=QUERY, headers=tenants.owner)
                seen += owners.status_code == 200
            answers = []
            for url, ids in ((foreign, tenants.ids), (missing, tenants.missing)):
                body = body_of(path, ids) if verb == "POST" else {}
                answer = api.request(verb, url, params=QUERY, headers=tenants.thief, **body)
                answers.append(shape(answer, ids))
            tried += 1
            is_wrong = answers[0] != answers[1] or any(
                value in str(answers[0]) for value in tenants.ids.values()
            )
            if names_owned and answers[0][0] not in (404, 405):
                is_wrong = True
            if is_wrong and path not in OPEN and path != "/metrics":
                wrong.append((verb, path, answers))
    for path in ("/v1/jobs", "/v1/slides"):
        assert api.get(path, headers=tenants.thief).json()["items"] == []
    job = api.get(f"/v1/jobs/{tenants.ids['job_id']}", headers=tenants.owner).json()
    report("R15", tried, len(wrong), seen_by_their_owner=seen, asked="another's key")
    assert wrong == []
    assert seen > 20
    assert job["state"] == "succeeded"


def test_nobody_without_a_good_key_gets_past_the_door(tenants: Tenants) -> None:
    """Nor with a token in the wrong place: of another result, of a slide, for writing, as a key."""
    api, wrong, tried = tenants.api, [], 0
    other = {**tenants.ids, "result_id": tenants.missing["result_id"]}
    strangers: list[tuple[dict[str, str], dict[str, str], Mapping[str, str]]] = [
        ({}, {}, tenants.ids),
        ({"Authorization": "Bearer wsi_" + "A" * 43}, {}, tenants.ids),
        ({"Authorization": f"Bearer {tenants.token}"}, {}, tenants.ids),
        ({"Authorization": tenants.owner["Authorization"].replace("Bearer", "Basic")}, {}, other),
        ({}, {"tk": tenants.owner["Authorization"].partition(" ")[2]}, tenants.ids),
        ({}, {"tk": tenants.token}, other),
        ({"Cookie": f"tk={tenants.token}"}, {}, tenants.ids),
    ]
    for path in paths_of(api):
        if path in OPEN:
            continue
        for verb in VERBS:
            for fields, query, ids in strangers:
                answer = api.request(
                    verb, address(path, ids), params=QUERY | query, headers=fields,
                    **(body_of(path, ids) if verb == "POST" else {}),
                )  # fmt: skip
                tried += 1
                if answer.status_code not in (401, 404, 405) or (
                    answer.status_code == 404
                    and "Nothing has this address" not in answer.text
                    and verb != "HEAD"
                ):
                    wrong.append((verb, path, fields, query, answer.status_code, answer.text))
    report("R15", tried, len(wrong), asked="no key, or a token in the wrong place")
    assert wrong == []


def test_token_opens_its_result_for_reading_only(tenants: Tenants) -> None:
    api, query = tenants.api, {**QUERY, "tk": tenants.token}
    opened, wrong, tried = 0, [], 0
    for path in paths_of(api):
        for verb in VERBS:
            answer = api.request(verb, address(path, tenants.ids), params=query)
            tried += 1
            is_its_own = "{result_id}" in path and verb in ("GET", "HEAD")
            if answer.status_code == 200 and is_its_own:
                opened += 1
            elif path not in OPEN and answer.status_code not in (401, 404, 405):
                wrong.append((verb, path, answer.status_code))
    report("R15", tried, len(wrong), asked="a token", opened=opened)
    assert wrong == []
    assert opened > 15


def test_same_bytes_and_the_same_idempotency_key_are_two_tenants_own(tenants: Tenants) -> None:
    """Neither the hash of a slide nor a key tells what another tenant has."""
    api, content = tenants.api, tenants.api.workshop.slide_bytes()
    jobs = []
    for who in (tenants.owner, tenants.thief):
        answer = api.post("/v1/slides", content=content, headers=who)
        again = api.post("/v1/slides", content=content, headers=who)
        assert again.status_code == 200
        body = {"slide_id": answer.json()["id"], "params": {"mpp": 0.75}}
        fields = {**who, "Idempotency-Key": "one"}
        jobs.append(api.post("/v1/jobs", json=body, headers=fields).json())
        batch = {"slides": [body["slide_id"]], "params": {"mpp": 0.75}}
        jobs[-1]["batch"] = api.post("/v1/batches", json=batch, headers=fields).json()
    first, second = jobs
    assert answer.status_code == 201  # the thief's first time, though the owner had sent them
    assert not second["cached"]
    for name in ("id", "slide_id"):
        assert first[name] != second[name]
    assert first["batch"]["id"] != second["batch"]["id"]
    assert (
        api.post("/v1/jobs", json=body, headers={**tenants.thief, "Idempotency-Key": "one"}).json()[
            "id"
        ]
        == second["id"]
    )


def test_what_is_deleted_is_gone_at_once(tenants: Tenants) -> None:
    """Also from what was allowed a moment ago, for a key and for a token."""
    api, ids = tenants.api, tenants.ids
    result = f"/v1/results/{ids['result_id']}"
    tile, slide = f"{result}/tiles/0/0/0.png", f"/v1/slides/{ids['slide_id']}"
    asked: list[dict[str, Any]] = [{"headers": tenants.owner}, {"params": {"tk": tenants.token}}]
    for options in asked:
        assert api.get(tile, **options).status_code == 200
    for picture in ("slide.dzi", "thumbnail.jpg"):
        assert api.get(f"{slide}/{picture}", headers=tenants.owner).status_code == 200
    assert api.service.viewing.open_readers == 1
    assert api.delete(result, headers=tenants.owner).status_code == 204
    assert [api.get(tile, **options).status_code for options in asked] == [410, 410]
    assert api.delete(slide, headers=tenants.owner).status_code == 204
    assert api.get(f"{slide}/slide.dzi", headers=tenants.owner).status_code == 404
    assert api.service.viewing.open_readers == 0
