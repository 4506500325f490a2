"""R21: workers on hosts whose clocks are apart, and jump."""

import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from service.database import jobs, open_database, results
from service.jobs import Job, JobState, NewResult, Verdict
from service.jobs.sql import SqlQueue
from tests.reliability.queues import DATABASES, fill
from tests.reliability.report import SEED, report, size

pytestmark = [pytest.mark.slow, pytest.mark.reliability]

TRIALS = size(quick=5, full=20)
HOSTS = 4
JOBS = 20
LEASE_S, APART_S, JUMP_S = 60.0, 30.0, 3600.0
MOST_STEPS = 20_000


@dataclass
class World:
    """What time it really is."""

    now: float = 1.8e9


@dataclass
class Host:
    """A worker with a wrong clock. Now and then it dies, or falls silent and comes back late."""

    world: World
    queue: SqlQueue
    name: str
    offset_s: float
    job: Job | None = None
    silent_until: float = 0.0
    published: list[str] = field(default_factory=list)  # ids of jobs

    def step(self, chance: random.Random) -> None:
        if self.world.now < self.silent_until:
            return
        if self.job is None:
            self.job = self.queue.claim(self.name)
            return
        match chance.choices(["work", "publish", "silent", "die"], [60, 25, 10, 5])[0]:
            case "work":
                if self.queue.heartbeat(self.job, "score", 1, 2) is not Verdict.GO_ON:
                    self.job = None
            case "publish":
                if self.queue.succeed(self.job, result_of(self.job)):
                    self.published.append(self.job.id)
                self.job = None
            case "silent":
                self.silent_until = self.world.now + chance.uniform(0, 3 * LEASE_S)
            case "die":
                self.job = None


def result_of(job: Job) -> NewResult:
    """Each attempt's own bytes: which one is published can be told."""
    return NewResult(job.result_id, job.slide_id, job.work_key, 1, f"{job.fence:064}")


def make_hosts(world: World, engine: Engine, chance: random.Random) -> list[Host]:
    hosts: list[Host] = []
    for number in range(HOSTS):

        def clock(number: int = number) -> float:
            return world.now + hosts[number].offset_s

        limits = {"max_queued": 999, "max_queued_per_tenant": 999}
        queue = SqlQueue(engine, lease_s=LEASE_S, clock=clock, **limits)
        offset_s = chance.uniform(-APART_S, APART_S)
        hosts.append(Host(world, queue, f"host-{number}", offset_s))
    return hosts


@pytest.mark.parametrize("kind", DATABASES)
def test_wrong_clocks_publish_nothing_twice(kind: str, tmp_path: Path) -> None:
    wrong, lost, jumps, stale = 0, 0, 0, 0
    for trial in range(TRIALS):
        chance = random.Random(SEED + trial)
        (folder := tmp_path / str(trial)).mkdir()
        url = DATABASES[kind](folder)
        fill(url, JOBS)
        engine = open_database(url)
        hosts = make_hosts(world := World(), engine, chance)
        jumps += run(world, hosts, chance)
        ended, published = look(engine)
        engine.dispose()
        wrong += not is_right(ended, published, hosts)
        lost += sum(state != JobState.SUCCEEDED for state in ended.values())
        stale += sum(fence > 1 for fence in published.values())

    report(
        "R21", TRIALS, wrong, database=kind, hosts=HOSTS, jobs=JOBS * TRIALS, clock_jumps=jumps,
        published_by_a_later_worker=stale, failed_as_worker_lost=lost,
    )  # fmt: skip
    assert wrong == 0


def run(world: World, hosts: list[Host], chance: random.Random) -> int:
    """Lets them work until all jobs have ended; how often a clock jumped."""
    jumps = 0
    for step in range(MOST_STEPS):
        world.now += chance.uniform(0, 5)
        host = chance.choice(hosts)
        if chance.random() < 0.01:
            host.offset_s += chance.choice([-JUMP_S, JUMP_S])
            jumps += 1
        host.step(chance)
        if step % 100 == 0 and all(
            job.state.is_final for job in host.queue.page("ann", limit=JOBS)
        ):
            return jumps
    raise AssertionError(f"jobs that never ended: {hosts[0].queue.depth()}")


def look(engine: Engine) -> tuple[dict[str, str], dict[str, int]]:
    """State of each job; of each job with a live result the fence that wrote it."""
    with engine.connect() as connection:
        ended = {row.id: row.state for row in connection.execute(select(jobs))}
        live = connection.execute(select(results).where(results.c.deleted_at.is_(None))).all()
    published = {row.job_id: int(row.manifest_sha256) for row in live}
    assert len(published) == len(live), "two results of one job"
    return ended, published


def is_right(ended: dict[str, str], published: dict[str, int], hosts: list[Host]) -> bool:
    """Who has succeeded was published once, by the one who was told so; nobody else was."""
    told = Counter(job_id for host in hosts for job_id in host.published)
    succeeded = {job_id for job_id, state in ended.items() if state == JobState.SUCCEEDED}
    return set(told) == succeeded == set(published) and set(told.values()) <= {1}
