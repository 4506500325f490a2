"""Tiles that are answered before the application is asked: the same answers, or none."""

from collections.abc import Iterator
from typing import Any

import pytest

from service.access.keys import ApiKeys
from service.pictures.warm_tiles import WarmTiles, read_colouring
from tests.service.api.harness import Api, Workshop

PLAIN = ["", "?cmap=magma", "?cmap=gray&vmin=0.25&vmax=.75&threshold=0.5&alpha=1"]
ODD = ["?class=painted", "?vmin=0.9&vmax=0.1", "?alpha=2", "?alpha=nan", "?cmap=no", "?alpha=%31",
       "?alpha=1&alpha=0", "?other=1", "?alpha=", "?vmin=1e-1", "?alpha=١"]  # fmt: skip


@pytest.fixture(scope="module")
def api(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("warm") / "data"
    with Api(workshop, folder, None, auth=("keys",), requests_per_minute=100_000) as api:
        yield api


@pytest.fixture(scope="module")
def ann(api: Api) -> dict[str, str]:
    return {"Authorization": f"Bearer {ApiKeys(api.service.engine).create('ann', 'a')[1]}"}


@pytest.fixture(scope="module")
def result(api: Api, ann: dict[str, str]) -> str:
    return str(api.finished(headers=ann)["links"]["result"])


def is_warm(api: Api, url: str, headers: dict[str, str]) -> bool:
    """Whether the application would not be asked."""
    asked = []

    async def application(*_: Any) -> None:
        asked.append(url)

    async def send(_message: Any) -> None:
        pass

    path, _, query = url.partition("?")
    fields = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "GET", "path": path, "query_string": query.encode()}
    front = WarmTiles(application, lambda: api.service.viewing)
    api.run(front({**scope, "headers": fields}, None, send))  # type: ignore[arg-type]
    return not asked


@pytest.mark.parametrize("query", PLAIN)
@pytest.mark.parametrize("tile", ["tiles/0/0/0.png", "heatmap_files/7/0_0.png"])
def test_warm_tile_is_the_one_that_the_application_answered(
    api: Api, ann: dict[str, str], result: str, tile: str, query: str
) -> None:
    url = f"{result}/{tile}{query}"
    first = api.get(url, headers=ann)
    assert first.status_code == 200
    assert is_warm(api, url, ann)
    second = api.get(url, headers=ann)
    assert (second.status_code, second.content) == (200, first.content)
    own = {"x-request-id"}
    assert {(k, v) for k, v in second.headers.items() if k not in own} == {
        (k, v) for k, v in first.headers.items() if k not in own
    }
    known = api.get(url, headers={**ann, "If-None-Match": first.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")
    assert known.headers["cache-control"] == first.headers["cache-control"]


@pytest.mark.parametrize("query", ODD)
def test_what_is_not_plain_is_the_applications(
    api: Api, ann: dict[str, str], result: str, query: str
) -> None:
    url = f"{result}/tiles/0/0/0.png{query}"
    api.get(url, headers=ann)
    assert not is_warm(api, url, ann)


def test_nobody_else_is_shown_a_warm_tile(api: Api, ann: dict[str, str], result: str) -> None:
    bob = {"Authorization": f"Bearer {ApiKeys(api.service.engine).create('bob', 'b')[1]}"}
    url = f"{result}/tiles/0/0/0.png"
    token = api.post(f"{result}/token", headers=ann).json()["token"]
    assert api.get(url, headers=ann).status_code == 200
    assert api.get(url, headers=bob).status_code == 404
    assert api.get(url).status_code == 401
    assert api.get(f"{url}?tk=wrong").status_code == 401
    for other in (bob, {}, {"Authorization": ""}):
        assert not is_warm(api, url, other)
    assert not is_warm(api, f"{url}?tk={token}", {})
    assert api.get(f"{url}?tk={token}").status_code == 200
    assert is_warm(api, f"{url}?tk={token}", {})
    assert not is_warm(api, f"{url.replace('/tiles', 'X/tiles')}?tk={token}", {})


def test_metrics_count_warm_tiles_under_their_route(
    api: Api, ann: dict[str, str], result: str
) -> None:
    line = 'wsi_http_requests_total{{method="GET",route="{}",status="200"}}'
    route = "/v1/results/{result_id}/tiles/{z:number}/{x:number}/{y:number}.png"
    counted = []
    for _ in range(3):
        api.get(f"{result}/tiles/0/0/0.png", headers=ann)
        text = api.get("/metrics", headers=ann).text
        counted += [float(each.split()[-1]) for each in text.splitlines()
                    if each.startswith(line.format(route))]  # fmt: skip
    assert [counted[1] - counted[0], counted[2] - counted[1]] == [1, 1]


def test_query_is_read_as_the_application_reads_it() -> None:
    found = read_colouring(b"cmap=turbo&vmin=0.5&tk=a.b-c_d")
    assert found is not None
    coloured, token = found
    style = coloured.style
    assert (style.colormap, style.vmin, style.alpha) == ("turbo", 0.5, 1.0)
    assert (coloured.name, token) == (None, "a.b-c_d")
