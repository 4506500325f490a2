"""The client of the REST API, against the real application behind a real server."""

import gzip
import hashlib
import json
import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.client import ApiError, Client
from service.jobs.job import JobState
from service.schemas import JobJson, Problem
from tests.service.api.harness import Api, Workshop
from tests.service.api.live import served
from tests.service.breaking import Cuts, Moving
from tests.service.served import Served


@pytest.fixture
def url(api: Api) -> Iterator[str]:
    with served(api) as url:
        yield url


@pytest.fixture
def slide(workshop: Workshop, tmp_path: Path) -> Path:
    path = tmp_path / "slide.tiff"
    path.write_bytes(workshop.slide_bytes())
    return path


Connect = Callable[..., tuple[Client, Cuts]]


@pytest.fixture
def connect(url: str) -> Iterator[Connect]:
    """Makes clients whose connections break by plan, after a first request that works."""
    with ExitStack() as stack:

        def connect(*plan: Any, **options: Any) -> tuple[Client, Cuts]:
            cuts = Cuts([None, *plan])
            options.setdefault("sleep", lambda pause_s: None)
            client = stack.enter_context(Client(url, transport=cuts, **options))
            with pytest.raises(ApiError):
                client.job("job_none")
            cuts.asked.clear()
            return client, cuts

        yield connect


def finished(api: Api, client: Client, slide: Path) -> Any:
    """A result."""
    job = client.submit(client.upload(slide).id)
    api.finish()
    return client.result(client.wait(job).result_id or "")


def slides_of(api: Api) -> list[dict[str, Any]]:
    return list(api.get("/v1/slides").json()["items"])


def jobs_of(api: Api) -> list[dict[str, Any]]:
    return list(api.get("/v1/jobs").json()["items"])


def test_slide_goes_in_and_its_files_come_out(
    api: Api, url: str, slide: Path, tmp_path: Path
) -> None:
    seen, worker = [], threading.Thread(target=work, args=(api,))
    worker.start()
    with Client(url) as client:
        result = client.heatmap(slide, on_progress=seen.append)
        worker.join()
        assert seen[-1].state is JobState.SUCCEEDED
        for artefact in result.artefacts:
            if artefact.name == "heatmap.zarr":
                continue
            address = artefact.href.rpartition("/")[2]
            path = client.download(result, address, tmp_path / "out")
            assert hashlib.sha256(path.read_bytes()).hexdigest() == artefact.sha256, address
        assert client.picture(result, max=64, cmap="magma").startswith(b"\x89PNG")
    assert {each.name for each in tmp_path.iterdir()} == {"data", "out", "slide.tiff"}


def work(api: Api) -> None:
    """Waits for a job and ends it."""
    api.finish(until(lambda: api.service.queue.claim("pretended")))


def until(is_so: Callable[[], Any]) -> Any:
    while not (found := is_so()):
        threading.Event().wait(0.005)
    return found


def test_both_kinds_of_geojson_can_be_had(api: Api, url: str, slide: Path, tmp_path: Path) -> None:
    with Client(url) as client:
        result = finished(api, client, slide)
        kinds = {}
        for name in ("heatmap.geojson.gz", "heatmap.geojson.gz?kind=tiles",
                     "heatmap.geojson.gz?kind=regions"):  # fmt: skip
            path = client.download(result, name, tmp_path / "a.gz")
            features = json.loads(gzip.decompress(path.read_bytes()))["features"]
            kinds[name] = {each["properties"]["objectType"] for each in features}
    tiles, same, regions = kinds.values()
    assert tiles == same == {"tile"}
    assert regions == {"annotation"}


def test_artefact_that_is_no_file_says_how_to_read_it(api: Api, url: str, slide: Path) -> None:
    with Client(url) as client:
        result = finished(api, client, slide)
        with pytest.raises(ApiError, match=f"/v1/results/{result.id}/heatmap.zarr with zarr"):
            client.download(result, "heatmap.zarr", slide.with_name("out"))
        with pytest.raises(ApiError, match=r"the result has heatmap\.tif, .*kind=regions"):
            client.download(result, "heatmap.tiff", slide.with_name("out"))


@pytest.mark.parametrize("cut", ["before", ("body", 0), ("body", 700), "answer", ("answer", 10)])
def test_upload_arrives_once_however_it_breaks(
    api: Api, connect: Connect, slide: Path, cut: Any
) -> None:
    client, cuts = connect(cut, cut)
    stored = client.upload(slide)
    assert len(cuts.asked) == 3
    assert stored.sha256 == hashlib.sha256(slide.read_bytes()).hexdigest()
    assert [each["id"] for each in slides_of(api)] == [stored.id]


def test_upload_tells_how_much_has_gone(api: Api, url: str, slide: Path) -> None:
    told: list[tuple[int, int]] = []
    with Client(url) as client:
        client.upload(slide, lambda done, total: told.append((done, total)))
    assert told[-1] == (slide.stat().st_size, slide.stat().st_size)


@pytest.mark.parametrize("cut", ["before", "answer", ("answer", 10)])
def test_job_is_made_once_however_the_request_breaks(
    api: Api, connect: Connect, slide: Path, cut: Any
) -> None:
    client, cuts = connect(None, cut, cut)
    job = client.submit(client.upload(slide).id, priority=3)
    assert len({request.headers["idempotency-key"] for request in cuts.asked[1:]}) == 1
    assert [each["id"] for each in jobs_of(api)] == [job.id]
    assert job.priority == 3


@pytest.mark.parametrize("cut", ["before", "answer", ("answer", 10)])
def test_waiting_goes_on_after_a_break(api: Api, connect: Connect, slide: Path, cut: Any) -> None:
    client, cuts = connect(None, None, "before", api.finish, cut, cut)
    ended = client.wait(client.submit(client.upload(slide).id))
    assert ended.state is JobState.SUCCEEDED
    assert len(cuts.asked) == 2 + 5


@pytest.mark.parametrize("bytes_each", [1, 300, 1 << 20])
def test_download_goes_on_where_it_broke(
    api: Api, connect: Connect, slide: Path, tmp_path: Path, bytes_each: int
) -> None:
    client, cuts = connect()
    result = finished(api, client, slide)
    artefact = next(each for each in result.artefacts if each.name == "heatmap.tif")
    cuts.asked.clear()
    cuts.plan = [("answer", bytes_each), "before", ("answer", bytes_each)]
    path = client.download(result, "heatmap.tif", tmp_path / "heatmap.tif")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == artefact.sha256
    ranges = [request.headers.get("range") for request in cuts.asked]
    if bytes_each < artefact.size_bytes:
        at = f"bytes={bytes_each}-"
        assert ranges == [None, at, at, f"bytes={2 * bytes_each}-"]
    else:  # it broke after the last byte: all is here
        assert ranges == [None]


def test_as_many_breaks_as_it_likes_while_bytes_come(
    api: Api, connect: Connect, slide: Path, tmp_path: Path
) -> None:
    client, cuts = connect(patience_s=1)
    result = finished(api, client, slide)
    cuts.plan = [("answer", 40)] * 25
    client.download(result, "tiles.csv", tmp_path / "tiles.csv")
    assert len(cuts.plan) < 25 - 10


def test_damaged_download_leaves_nothing(
    api: Api, connect: Connect, slide: Path, tmp_path: Path
) -> None:
    client, _ = connect()
    result = finished(api, client, slide)
    wrong = result.model_copy(
        update={
            "artefacts": [each.model_copy(update={"sha256": "0" * 64}) for each in result.artefacts]
        }
    )
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(ApiError, match="came damaged") as raised:
        client.download(wrong, "tiles.csv", out / "tiles.csv")
    assert raised.value.slug == "checksum-mismatch"
    api.delete(f"/v1/results/{result.id}")
    with pytest.raises(ApiError) as raised:
        client.download(result, "tiles.csv", out / "tiles.csv")
    assert raised.value.slug == "result-expired"
    assert list(out.iterdir()) == []


def test_events_tell_each_state_and_end_with_the_final_one(api: Api, url: str, slide: Path) -> None:
    with Client(url) as client:
        job = client.submit(client.upload(slide).id)
        seen = []
        for now in client.events(job.id):
            seen.append(now.state)
            if len(seen) == 1:
                claimed = api.claim()
            elif len(seen) == 2:
                api.finish(claimed)
    assert seen == [JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED]


def test_events_go_on_after_a_break_and_repeat_nothing(
    api: Api, connect: Connect, slide: Path
) -> None:
    client, cuts = connect(None, None)
    job = client.submit(client.upload(slide).id)
    cuts.plan = ["event", "before", api.finish]
    seen = [now.state for now in client.events(job.id)]
    assert seen == [JobState.QUEUED, JobState.SUCCEEDED]
    told = [request.headers.get("last-event-id") for request in cuts.asked[2:]]
    assert told[0] is None
    assert len({*told[1:]}) == 1
    assert told[1].isdecimal()


def test_wait_that_the_service_ends_early_is_taken_up_again(
    api: Api, connect: Connect, slide: Path
) -> None:
    client, cuts = connect()
    job = client.submit(client.upload(slide).id)
    waited: list[JobJson] = []
    waiting = threading.Thread(target=lambda: waited.append(client.wait(job)))
    waiting.start()
    until(lambda: api.service.watcher.is_watched)
    cuts.plan = ["before"] * 4
    api.service.watcher.close()  # what a service does first that is told to stop
    until(lambda: not cuts.plan)
    api.finish()
    waiting.join()
    assert waited[0].state is JobState.SUCCEEDED


@pytest.mark.slow
def test_waiting_survives_the_end_and_the_start_of_the_service(slide: Path, tmp_path: Path) -> None:
    first = Served(tmp_path, WORKERS="0")
    transport = Moving(first.url)
    waited: list[JobJson] = []
    with Client(first.url, transport=transport) as client:
        try:
            job = client.submit(client.upload(slide).id)
            waiting = threading.Thread(target=lambda: waited.append(client.wait(job)))
            waiting.start()
            first.process.terminate()
            first.process.wait()
        finally:
            first.close()
        second = Served(tmp_path)
        try:
            transport.url = second.url
            waiting.join()
        finally:
            second.close()
    assert waited[0].state is JobState.SUCCEEDED
    assert waited[0].id == job.id


def test_service_that_lets_nobody_wait_is_not_asked_without_pause(
    workshop: Workshop, slide: Path, tmp_path: Path
) -> None:
    pauses: list[float] = []

    def sleep(pause_s: float) -> None:
        pauses.append(pause_s)
        if len(pauses) == 3:
            api.finish()

    with (
        Api(workshop, tmp_path / "data", max_wait_s=0) as api,
        served(api) as url,
        Client(url, sleep=sleep) as client,
    ):
        ended = client.wait(client.submit(client.upload(slide).id))
    assert ended.state is JobState.SUCCEEDED
    assert pauses == [0.5, 0.5, 0.5]


def test_failed_job_raises_its_own_problem(api: Api, url: str, slide: Path) -> None:
    problem = Problem(type="/problems/no-mpp", title="No resolution", status=422, detail="send mpp")
    fields = problem.model_dump(exclude_none=True)
    claim = api.service.queue.claim
    fail = threading.Thread(target=lambda: api.fail(fields, until(lambda: claim("pretended"))))
    fail.start()
    with Client(url) as client, pytest.raises(ApiError, match="No resolution: send mpp") as raised:
        client.heatmap(slide)
    fail.join()
    assert raised.value.slug == "no-mpp"
    assert pickle.loads(pickle.dumps(raised.value)).problem == raised.value.problem


def test_cancelling_twice_is_cancelling(api: Api, connect: Connect, slide: Path) -> None:
    client, cuts = connect(None, None, "answer")
    job = client.submit(client.upload(slide).id)
    assert client.cancel(job.id).state is JobState.CANCELLED
    assert len(cuts.asked) > 3
    done = finished(api, client, slide)
    with pytest.raises(ApiError) as raised:
        client.cancel(done.job_id)
    assert raised.value.problem.status == 409


def test_token_opens_a_tile_for_those_without_a_key(api: Api, url: str, slide: Path) -> None:
    with Client(url) as client:
        result = finished(api, client, slide)
        token = client.token(result)
    tile = f"/v1/results/{result.id}/heatmap_files/0/0_0.png?tk={token}"
    assert httpx.get(url + tile, timeout=60).status_code == 200
    assert api.service.tokens.principal(token, result.id).tenant == "local"


def test_key_is_sent_with_every_request(connect: Connect) -> None:
    client, cuts = connect(key="wsi_secret")
    with pytest.raises(ApiError):
        client.result("res_none")
    assert cuts.asked[-1].headers["authorization"] == "Bearer wsi_secret"
