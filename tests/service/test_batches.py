"""What is in a batch, and under which number."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from service.batches import Batches, Member
from service.database import open_database, upgrade
from tests.service.jobs.builders import at_once
from tests.service.jobs.databases import fresh_sqlite
from tests.service.postgresql import cluster, fresh_database


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "sqlite":
        engine = fresh_sqlite(tmp_path / "wsi.sqlite3")
    else:
        engine = open_database(fresh_database(cluster()))
        upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def batches(engine: Engine) -> Batches:
    return Batches(engine)


def begin(batches: Batches, *members: Member) -> str:
    batch_id = batches.begin("ann", "ab" * 32, "key")
    for member in members:
        batches.add(batch_id, member)
    return batch_id


def test_a_name_whose_number_another_has_gets_the_next_free_one(batches: Batches) -> None:
    batch_id = begin(batches, *(Member(number, name) for number, name in enumerate("acd")))
    batches.add(batch_id, Member(1, "b"))
    assert batches.names(batch_id) == {0: "a", 1: "c", 2: "d", 3: "b"}


def test_a_name_is_in_a_batch_once_and_the_first_counts(batches: Batches) -> None:
    batch_id = begin(batches, Member(0, "a", job_id="job_1"))
    batches.add(batch_id, Member(5, "a", job_id="job_2"))
    assert batches.names(batch_id) == {0: "a"}
    assert batches.get("ann", batch_id).jobs == ["job_1"]


def test_of_slides_without_a_name_a_number_is_there_once(batches: Batches) -> None:
    batch_id = begin(batches, Member(0, job_id="job_1"), Member(1, job_id="job_1"))
    batches.add(batch_id, Member(1, job_id="job_2"))
    assert batches.get("ann", batch_id).jobs == ["job_1", "job_1"]


def test_another_batch_has_its_own_names_and_numbers(batches: Batches) -> None:
    begin(batches, Member(0, "a"))
    other = batches.begin("ann", "cd" * 32, None)
    batches.add(other, Member(0, "a"))
    assert batches.names(other) == {0: "a"}


def test_names_that_want_one_number_at_once_are_all_there_once(batches: Batches) -> None:
    batch_id = begin(batches)
    at_once(8, lambda thread: batches.add(batch_id, Member(0, "abcd"[thread // 2])))
    names = batches.names(batch_id)
    assert (sorted(names), sorted(map(str, names.values()))) == ([0, 1, 2, 3], [*"abcd"])
