"""What all answers have in common."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.web.middleware import Edge
from tests.service.api.harness import Api, Workshop

REPOSITORY = Path(__file__).resolve().parents[3]
DOCUMENT = REPOSITORY / "docs" / "openapi.json"

ID = "01K0F7X8Z6T5Q4N3M2J1H0G9FE"


@pytest.fixture(scope="module")
def api(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with Api(workshop, tmp_path_factory.mktemp("app") / "data") as api:
        yield api


@pytest.mark.parametrize(
    ("method", "url", "status"),
    [
        ("GET", "/v1/jobs", 200),
        ("GET", "/v1/jobs/job_0", 404),
        ("GET", "/nowhere", 404),
        ("PUT", "/v1/jobs", 405),
        ("GET", "/v1/jobs?limit=201", 400),
        ("GET", "/v1/jobs?limit=many", 400),
        ("GET", "/v1/jobs?state=tired", 400),
        ("POST", "/v1/jobs", 422),
        ("GET", "/v1/results/..%2f..%2fetc%2fpasswd", 404),
        ("GET", "/v1/results/res_0/heatmap.zarr/%00", 404),
        ("GET", "/v1/jobs/%ff%fe", 404),
        ("DELETE", "/v1/slides/sld_0", 404),
    ],
)
def test_every_answer_has_an_id_and_every_error_is_a_problem(
    api: Api, method: str, url: str, status: int
) -> None:
    answer = api.request(method, httpx.URL("http://wsi.test", raw_path=url.encode()))
    assert answer.status_code == status
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert len(answer.headers["x-request-id"]) == 16
    if status >= 400:
        body = answer.json()
        assert answer.headers["content-type"] == "application/problem+json"
        assert body["request_id"] == answer.headers["x-request-id"]
        assert body["status"] == status
        assert body["detail"]


def test_sensible_request_id_is_kept(api: Api) -> None:
    given = api.get("/livez", headers={"X-Request-Id": "trace-7.a"}).headers
    assert given["x-request-id"] == "trace-7.a"
    made = api.get("/livez", headers={"X-Request-Id": "<script>"}).headers
    assert made["x-request-id"] != "<script>"


def test_allow_names_all_methods_of_the_address(api: Api) -> None:
    answer = api.request("PATCH", f"/v1/slides/sld_{ID}")
    assert (answer.status_code, answer.headers["allow"]) == (405, "DELETE, GET, HEAD")


def test_head_answers_wherever_get_does(api: Api) -> None:
    """Every address of the document, with what GET says but no body, and nothing made for it."""
    job = api.finished(seed=5)
    batch = api.post("/v1/batches", json={"slides": [job["slide_id"]]}).json()
    api.service.library.set_facts("local", job["slide_id"], {"size0": [96, 64]})
    ids = {name: job[name] for name in ("slide_id", "result_id")}
    others = {"job_id": job["id"], "batch_id": batch["id"], "key": "zarr.json"}
    numbers = {"level": "0", "column": "0", "row": "0", "z": "0", "x": "0", "y": "0"}
    checked = 0
    for path, operations in api.get("/openapi.json").json()["paths"].items():
        if "get" not in operations:
            continue
        url = path.format(**ids, **others, **numbers, name="mean-channel")
        url += "?x0=1&y0=1&threshold=0.25" if "{" in path else ""
        head, got = api.head(url), api.get(url)
        assert (head.status_code, head.content) == (got.status_code, b""), url
        for name in ("etag", "cache-control", "content-type"):
            made = name == "cache-control" and url.endswith("/events?x0=1&y0=1&threshold=0.25")
            assert made or head.headers.get(name) == got.headers.get(name), (url, name)
        length = head.headers.get("content-length")
        assert path == "/metrics" or length in (None, got.headers.get("content-length")), url
        checked += 1
    assert checked > 25


def test_head_of_a_picture_draws_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    result = api.finished(seed=6)["links"]["result"]

    def draw(*_: object) -> bytes:
        raise AssertionError("it was drawn")

    for name in ("tile", "picture"):
        monkeypatch.setattr(api.service.viewing.heatmaps, name, draw)
    monkeypatch.setattr("service.exports.load_source", draw)
    for path in ("tiles/0/0/0.png", "heatmap.png", "heatmap.geojson?threshold=0.75"):
        head = api.head(f"{result}/{path}")
        assert head.status_code == 200
        assert head.headers["etag"]
        assert "content-length" not in head.headers


def test_crash_is_a_problem_that_tells_nothing(api: Api) -> None:
    def crash(*_: object, **__: object) -> None:
        raise KeyError("secret")

    queue, method = api.service.queue, api.service.queue.page
    try:
        queue.page = crash  # type: ignore[method-assign, assignment]
        answer = api.get("/v1/jobs")
    finally:
        queue.page = method  # type: ignore[method-assign]
    assert (answer.status_code, answer.json()["type"]) == (500, "/problems/internal-error")
    assert answer.headers["x-request-id"] == answer.json()["request_id"]
    assert "secret" not in answer.text


def test_values_that_a_client_sent_are_not_repeated_in_errors(api: Api) -> None:
    answer = api.post("/v1/jobs", json={"slide_id": "s", "params": {"mpp": "canary"}})
    assert "canary" not in answer.text
    assert answer.json()["errors"][0]["name"] == "params.mpp"


def test_key_that_may_only_read_writes_nothing(api: Api) -> None:
    headers = {"X-Scopes": "read"}
    assert api.get("/v1/jobs", headers=headers).status_code == 200
    for method, url in (
        ("POST", "/v1/heatmaps"),
        ("POST", "/v1/slides"),
        ("POST", "/v1/jobs"),
        ("POST", "/v1/batches"),
        ("POST", "/v1/jobs/job_0/cancel"),
        ("DELETE", "/v1/slides/sld_0"),
        ("DELETE", "/v1/results/res_0"),
    ):
        answer = api.request(method, url, headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (403, "/problems/not-allowed"), url


def test_token_without_the_scope_to_read_reads_nothing(api: Api) -> None:
    """Every address below /v1; an identity provider's `openid` alone is no scope of ours."""
    headers = {"X-Scopes": "write"}
    ids = {name: f"{name[:3]}_0" for name in ("slide_id", "job_id", "result_id", "batch_id")}
    numbers = {"level": "0", "column": "0", "row": "0", "z": "0", "x": "0", "y": "0"}
    paths = api.get("/openapi.json").json()["paths"]
    asked = [path for path in paths if path.startswith("/v1/") and "get" in paths[path]]
    for path in asked:
        url = path.format(**ids, **numbers, key="zarr.json", name="m")
        answer = api.get(f"{url}?x0=1&y0=1" if url.endswith("point") else url, headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (403, "/problems/not-allowed"), url
    assert len(asked) > 20
    assert api.post("/v1/results/res_0/token", headers=headers).status_code == 403


def test_things_of_another_tenant_do_not_exist(api: Api) -> None:
    """Every address of the document, with the owner's ids, asked by somebody else."""
    job = api.finished(tenant="owner")
    batch = api.post("/v1/batches", json={"slides": [job["slide_id"]]}, tenant="owner").json()
    ids = {
        "slide_id": job["slide_id"],
        "job_id": job["id"],
        "result_id": job["result_id"],
        "batch_id": batch["id"],
    }
    numbers = {"level": "0", "column": "0", "row": "0", "z": "0", "x": "0", "y": "0"}
    checked = 0
    for path, operations in api.get("/openapi.json").json()["paths"].items():
        if not any(f"{{{name}}}" in path for name in ids):
            continue
        url = path.format(**ids, **numbers, key="zarr.json", name="x")
        for method in operations:
            foreign = api.request(method.upper(), url + "?x0=1&y0=1", tenant="thief")
            missing = api.request(method.upper(), swap_ids(url, ids) + "?x0=1&y0=1", tenant="thief")
            assert foreign.status_code == missing.status_code == 404, (method, url)
            assert shape(foreign) == shape(missing), (method, url)
            checked += 1
    assert checked > 25
    for url in ("/v1/jobs", "/v1/slides"):
        assert api.get(url, tenant="thief").json()["items"] == []
    assert api.get(job["links"]["self"], tenant="owner").json()["state"] == "succeeded"


def swap_ids(url: str, ids: dict[str, str]) -> str:
    for each in ids.values():
        url = url.replace(each, each.partition("_")[0] + "_" + ID)
    return url


def shape(answer: httpx.Response) -> dict[str, str]:
    """A problem without what names the request or the thing."""
    body = answer.json()
    thing = body["instance"].split("/")[3]
    return {"type": body["type"], "detail": body["detail"].replace(thing, "…")}


def test_page_on_another_site_may_read_where_the_operator_allows_it(
    workshop: Workshop, tmp_path: Path
) -> None:
    from service.app import create_app
    from service.settings import Settings

    settings = Settings(data=tmp_path, cors_origins=("https://viewer.example",))
    app = create_app(settings)
    for origin, allowed in (("https://viewer.example", True), ("https://evil.example", False)):
        answer = ask_app(app, "GET", "/nowhere", {"Origin": origin})
        assert ("access-control-allow-origin" in answer.headers) is allowed
        if allowed:
            assert "ETag" in answer.headers["access-control-expose-headers"]
    headers = {"Origin": "https://viewer.example", "Access-Control-Request-Method": "POST"}
    assert ask_app(app, "OPTIONS", "/v1/jobs", headers).status_code == 200


def ask_app(app: object, method: str, url: str, headers: dict[str, str]) -> httpx.Response:
    import anyio

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, url, headers=headers)

    return anyio.run(ask)


def test_edge_lets_go_of_what_is_no_http_request() -> None:
    import anyio

    seen: list[str] = []

    async def app(scope, receive, send) -> None:  # noqa: ANN001
        seen.append(scope["type"])

    anyio.run(Edge(app), {"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert seen == ["lifespan"]


def test_document_is_the_one_that_is_committed(api: Api) -> None:
    """After a change: python -m tests.service.api.write_document"""
    assert api.get("/openapi.json").json() == json.loads(DOCUMENT.read_text(encoding="utf-8"))


def test_document_describes_every_operation(api: Api) -> None:
    document = api.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    operations = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    ids = [operation["operationId"] for _, _, operation in operations]
    assert len(ids) == len(set(ids))
    for path, method, operation in operations:
        assert operation["summary"], (path, method)
        for status, answer in operation["responses"].items():
            assert answer["description"], (path, method, status)
            if int(status) >= 400 and path != "/viewer":
                assert "application/problem+json" in answer["content"], (path, method, status)


def test_examples_of_the_document_fit_their_schemas(api: Api) -> None:
    from jsonschema import Draft202012Validator

    document = api.get("/openapi.json").json()
    checked = 0
    for name, schema in document["components"]["schemas"].items():
        for example in schema.get("examples", []):
            whole = {**schema, "components": document["components"]}
            Draft202012Validator(whole).validate(example)
            checked += 1
        for field, each in schema.get("properties", {}).items():
            for example in each.get("examples", []):
                whole = {**each, "components": document["components"]}
                assert Draft202012Validator(whole).is_valid(example), (name, field)
                checked += 1
    assert checked > 20
