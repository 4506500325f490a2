"""Results are found by their tenant, and gone ones are told from those that never were."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from service.errors import NotFound, ResultExpired
from service.storage.shelf import Shelf
from tests.service.shelving import TENANT, add_result, files_of, make_engine, make_settings


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = make_engine(tmp_path)
    yield engine
    engine.dispose()


@pytest.fixture
def shelf(tmp_path: Path, engine: Engine) -> Shelf:
    return Shelf(tmp_path, engine, make_settings(tmp_path), lambda: 2000.0)


def test_a_result_is_found_by_id_and_by_its_work(tmp_path: Path, engine: Engine, shelf: Shelf):
    result_id = add_result(tmp_path, engine, work_key="w")
    found = shelf.get(TENANT, result_id)
    assert found == shelf.find(TENANT, "w")
    assert (found.id, found.tenant, found.size_bytes) == (result_id, TENANT, 4)
    assert (found.folder / "manifest.json").read_bytes() == b"mmmm"
    assert shelf.find(TENANT, "other") is None


def test_another_tenants_result_is_as_missing_as_one_that_never_was(
    tmp_path: Path, engine: Engine, shelf: Shelf
):
    result_id = add_result(tmp_path, engine, work_key="w")
    for tenant, asked in (("t2", result_id), (TENANT, "res_0")):
        for act in (shelf.get, shelf.delete):
            with pytest.raises(NotFound, match=r"^no such result$"):
                act(tenant, asked)
    assert shelf.find("t2", "w") is None
    assert shelf.page("t2", limit=9) == []
    assert shelf.get(TENANT, result_id)


def test_a_deleted_result_has_expired_and_its_work_may_be_done_again(
    tmp_path: Path, engine: Engine, shelf: Shelf
):
    result_id = add_result(tmp_path, engine, work_key="w")
    shelf.delete(TENANT, result_id)
    assert files_of(tmp_path) == []
    for act in (shelf.get, shelf.delete):
        with pytest.raises(ResultExpired, match="deleted"):
            act(TENANT, result_id)
    with pytest.raises(NotFound):
        shelf.get("t2", result_id)
    assert shelf.find(TENANT, "w") is None
    again = add_result(tmp_path, engine, work_key="w")
    assert [one.id for one in shelf.page(TENANT, limit=9)] == [again]


def test_who_reads_a_file_of_a_deleted_result_reads_all_of_it(
    tmp_path: Path, engine: Engine, shelf: Shelf
):
    result_id = add_result(tmp_path, engine, size_bytes=100_000)
    with (shelf.get(TENANT, result_id).folder / "manifest.json").open("rb", buffering=0) as file:
        first = file.read(10)
        shelf.delete(TENANT, result_id)
        assert first + file.read() == b"m" * 100_000


def test_pages_go_from_new_to_old(tmp_path: Path, engine: Engine, shelf: Shelf):
    ids = sorted((add_result(tmp_path, engine) for _ in range(3)), reverse=True)
    first = shelf.page(TENANT, limit=2)
    rest = shelf.page(TENANT, limit=2, before=first[-1].id)
    assert [one.id for one in (*first, *rest)] == ids
