"""R12: many processes claim from one queue."""

import multiprocessing
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from service.database import open_database
from service.jobs import JobState
from service.jobs.sql import SqlQueue
from tests.reliability.queues import DATABASES, fill
from tests.reliability.report import report, size

pytestmark = [pytest.mark.slow, pytest.mark.reliability]

PROCESSES = 8
JOBS = size(quick=1_000, full=10_000)
BAR_PER_S = 500


@pytest.mark.parametrize("kind", DATABASES)
def test_each_job_is_claimed_exactly_once(kind: str, tmp_path: Path) -> None:
    url = DATABASES[kind](tmp_path)
    expected = fill(url, JOBS)
    claims = claim_in_processes(url)

    times = Counter(job_id for ids, _, _ in claims for job_id in ids)
    wrong = [job_id for job_id in expected if times[job_id] != 1]
    seconds = max(end for *_, end in claims) - min(began for _, began, _ in claims)
    report(
        "R12",
        JOBS,
        len(wrong),
        database=kind,
        processes=PROCESSES,
        claims_per_s=round(JOBS / seconds),
        claims_per_s_bar=BAR_PER_S,
        fewest_of_a_process=min(len(ids) for ids, *_ in claims),
        most_of_a_process=max(len(ids) for ids, *_ in claims),
    )
    assert wrong == []
    assert sum(times.values()) == JOBS


def claim_in_processes(url: str) -> list[tuple[list[str], float, float]]:
    """Of each process: the ids that it claimed, and when it began and ended."""
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(PROCESSES), context.Queue()
    processes = [
        context.Process(target=claim_all, args=(url, f"w{number}", barrier, answers))
        for number in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    claims = [answers.get(timeout=240) for _ in processes]
    for process in processes:
        process.join()
    return claims


def claim_all(url: str, worker: str, barrier: Any, answers: Any) -> None:
    engine = open_database(url)
    queue = SqlQueue(engine, lease_s=3600, max_queued=1, max_queued_per_tenant=1)
    queue.depth()  # connected, before the race
    ids: list[str] = []
    barrier.wait()
    began = time.monotonic()
    while True:
        job = queue.claim(worker)
        if job is not None:
            ids.append(job.id)
        elif queue.depth()[JobState.QUEUED] == 0:  # else others hold the last rows locked
            break
    answers.put((ids, began, time.monotonic()))
    engine.dispose()
