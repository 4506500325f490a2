"""The API does what its document says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service.api.conformance import check_operation, operations
from tests.service.api.harness import Api, Workshop
from tests.service.api.live import served

EXAMPLES = 8


@pytest.fixture(scope="module")
def filled(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server with one of everything, and the ids."""
    with filled_server(workshop, tmp_path_factory.mktemp("conformance")) as found:
        yield found


def filled_server(workshop: Workshop, folder: Path) -> Any:
    from contextlib import contextmanager

    @contextmanager
    def opened() -> Iterator[Any]:
        # the one worker is seen once, however long the requests take
        options = {"max_wait_s": 0.05, "lease_s": 3600}
        with Api(workshop, folder / "data", **options) as api, served(api) as url:
            job = api.finished()
            api.service.queue.beat("pretended", {})
            api.service.library.set_facts("local", job["slide_id"], {"size0": [96, 64]})
            batch = api.post("/v1/batches", json={"slides": [job["slide_id"]]}).json()
            ids = {
                "slide_id": job["slide_id"],
                "job_id": job["id"],
                "result_id": job["result_id"],
                "batch_id": batch["id"],
                "name": "mean-channel",
                "key": "zarr.json",
            }
            yield url, ids

    return opened()


@pytest.mark.parametrize(("path", "method"), operations())
def test_operation_answers_as_documented(filled: Any, path: str, method: str) -> None:
    url, ids = filled
    assert check_operation(url, path, method, ids, examples=EXAMPLES, seed=1) > 0
