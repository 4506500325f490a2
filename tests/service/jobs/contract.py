"""What every queue must do. A store's tests inherit QueueContract and give a `make_queue`."""

import random
from abc import abstractmethod
from collections.abc import Callable

import pytest

from service.errors import NotFound
from service.jobs import Job, JobState, Queue, Verdict
from service.jobs.job import LONGEST_RETRY_S
from tests.service.jobs.builders import (
    LEASE_S,
    PROBLEM,
    at_once,
    claimed,
    finish,
    new_job,
    result_of,
    start,
)
from tests.service.jobs.clock import FakeClock
from tests.service.jobs.contract_owning import OwningContract
from tests.service.jobs.contract_submitting import SubmittingContract

MISSING = "job_01ARZ3NDEKTSV4RRFFQ69G5FAV"


class QueueContract(SubmittingContract, OwningContract):
    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @abstractmethod
    @pytest.fixture
    def make_queue(self, clock: FakeClock) -> Callable[..., Queue]:
        """A queue on one and the same store, with max_queued and max_queued_per_tenant."""

    @pytest.fixture
    def queue(self, make_queue: Callable[..., Queue]) -> Queue:
        return make_queue()

    def test_another_tenants_job_is_missing(self, queue: Queue) -> None:
        job = queue.submit(new_job()).job

        with pytest.raises(NotFound, match=job.id):
            queue.get("bob", job.id)
        with pytest.raises(NotFound, match=MISSING):
            queue.get("ann", MISSING)
        with pytest.raises(NotFound, match=job.id):
            queue.cancel("bob", job.id)
        assert queue.page("bob", limit=10) == []
        assert queue.get("ann", job.id) == job

    def test_pages_go_from_the_newest_to_the_oldest(self, queue: Queue) -> None:
        ids = [queue.submit(new_job(f"work-{n}")).job.id for n in range(5)]
        first = queue.page("ann", limit=2)
        second = queue.page("ann", limit=9, before=first[-1].id)

        assert [job.id for job in first] == [ids[4], ids[3]]
        assert [job.id for job in second] == [ids[2], ids[1], ids[0]]

    def test_pages_can_show_one_state_or_one_batch(self, queue: Queue) -> None:
        first = queue.submit(new_job("a", batch_id="bat_1")).job
        second = queue.submit(new_job("b", batch_id="bat_1")).job
        queue.submit(new_job("c"))
        queue.cancel("ann", first.id)

        assert [job.id for job in queue.page("ann", limit=9, state=JobState.CANCELLED)] == [
            first.id
        ]
        in_batch = queue.page("ann", limit=9, batch_id="bat_1")
        assert [job.id for job in in_batch] == [second.id, first.id]

    def test_position_counts_who_goes_first(self, queue: Queue) -> None:
        low = queue.submit(new_job("low", priority=-1)).job
        older = queue.submit(new_job("older", tenant="bob")).job
        newer = queue.submit(new_job("newer")).job
        high = queue.submit(new_job("high", priority=5)).job

        assert [queue.position(job) for job in (high, older, newer, low)] == [0, 1, 2, 3]
        queue.claim("w1")
        assert [queue.position(job) for job in (high, older, newer, low)] == [None, 0, 1, 2]

    def test_position_counts_neither_delayed_jobs_nor_leaves_out_lost_ones(
        self, queue: Queue, clock: FakeClock
    ) -> None:
        queue.submit(new_job("delayed"))
        queue.fail(claimed(queue), PROBLEM, retry_in_s=2 * LEASE_S)
        start(queue, new_job("lost"))
        last = queue.submit(new_job("last")).job

        assert queue.position(last) == 0
        clock.advance(LEASE_S + 1)
        assert queue.position(last) == 1
        clock.advance(1000)
        assert queue.position(last) == 2

    def test_a_snapshot_holds_jobs_of_all_tenants_with_their_positions(
        self, queue: Queue, clock: FakeClock
    ) -> None:
        running = start(queue, new_job("first"))
        jobs = [queue.submit(new_job(f"work-{n}", tenant=f"t{n}")).job for n in range(4)]
        high = queue.submit(new_job("high", priority=1)).job
        clock.advance(LEASE_S + 1)
        seen = queue.snapshot([running.id, jobs[3].id, jobs[0].id, high.id, MISSING])

        assert {job_id: one.position for job_id, one in seen.items()} == {
            running.id: None,
            jobs[0].id: 0,  # of tenants that have not had their turn, the older
            jobs[3].id: 3,
            high.id: 4,  # before its tenant's other one, whose lease is over
        }
        assert seen[jobs[0].id].job == jobs[0]
        assert all(queue.position(one.job) == one.position for one in seen.values())
        assert queue.snapshot([]) == {}

    def test_depth_counts_each_state(self, queue: Queue) -> None:
        finish(queue, new_job("done"))
        start(queue, new_job("runs"))
        queue.submit(new_job("waits", tenant="bob"))

        assert queue.depth() == {
            JobState.QUEUED: 1,
            JobState.RUNNING: 1,
            JobState.SUCCEEDED: 1,
            JobState.FAILED: 0,
            JobState.CANCELLED: 0,
        }
        assert queue.depth(states=[JobState.QUEUED, JobState.FAILED]) == {
            JobState.QUEUED: 1,
            JobState.FAILED: 0,
        }
        assert queue.depth("bob")[JobState.QUEUED] == 1
        assert queue.depth("bob")[JobState.SUCCEEDED] == 0

    def test_nothing_to_claim(self, queue: Queue) -> None:
        assert queue.claim("w1") is None

    def test_a_claim_begins_an_attempt_and_a_lease(self, queue: Queue, clock: FakeClock) -> None:
        submitted = queue.submit(new_job()).job
        job = claimed(queue, "w1")

        assert job == queue.get("ann", submitted.id)
        assert (job.state, job.worker) == (JobState.RUNNING, "w1")
        assert (job.attempt, job.fence) == (1, 1)
        assert job.started_at == pytest.approx(clock.now, abs=1)
        assert job.lease_until == pytest.approx(clock.now + LEASE_S, abs=1)
        assert queue.claim("w2") is None

    def test_the_higher_priority_goes_first_then_the_older(self, queue: Queue) -> None:
        for work, priority in (("a", 0), ("b", 5), ("c", 0), ("d", 5), ("e", -5)):
            queue.submit(new_job(work, priority=priority))

        assert [claimed(queue).work_key for _ in range(5)] == ["b", "d", "a", "c", "e"]

    def test_a_priority_counts_within_its_tenant(self, queue: Queue, clock: FakeClock) -> None:
        for work in "abc":
            queue.submit(new_job(work, priority=100))
        queue.submit(new_job("d", tenant="bob", priority=-100))
        queue.submit(new_job("e", tenant="bob"))

        assert self.claim_all(queue, clock) == ["a", "e", "b", "d", "c"]

    def test_tenants_take_turns_at_a_single_worker(self, queue: Queue, clock: FakeClock) -> None:
        """Nothing runs whenever it asks."""
        for work in "abc":
            queue.submit(new_job(work))
        done = [self.do_next(queue, clock)]
        queue.submit(new_job("d", tenant="bob"))
        queue.submit(new_job("e", tenant="bob"))
        done += [self.do_next(queue, clock) for _ in range(4)]

        assert done == ["a", "d", "b", "e", "c"]

    def test_the_tenant_with_the_fewest_jobs_that_run_goes_first(
        self, queue: Queue, clock: FakeClock
    ) -> None:
        for work in "abcd":
            queue.submit(new_job(work))
        assert [claimed(queue).work_key for _ in range(2)] == ["a", "b"]
        for work in "efg":
            clock.advance(1)
            queue.submit(new_job(work, tenant="bob"))

        assert self.claim_all(queue, clock) == ["e", "f", "c", "g", "d"]

    def test_a_lost_job_does_not_wait_for_other_tenants_to_end(
        self, queue: Queue, clock: FakeClock
    ) -> None:
        """Of its tenant nothing runs any more, though its row still says so."""
        start(queue, new_job("lost"), "w1")
        for work in "abc":
            queue.submit(new_job(work, tenant="bob"))
        clock.advance(LEASE_S + 1)

        assert self.claim_all(queue, clock) == ["a", "lost", "b", "c"]

    def test_a_tenant_whose_jobs_are_all_delayed_gives_up_its_turn(self, queue: Queue) -> None:
        queue.submit(new_job("delayed"))
        queue.fail(claimed(queue), PROBLEM, retry_in_s=1000)
        queue.submit(new_job("a", tenant="bob"))

        assert claimed(queue).work_key == "a"
        assert queue.claim("w1") is None

    @pytest.mark.parametrize("seed", range(4))
    def test_positions_are_the_order_of_claims(
        self, queue: Queue, clock: FakeClock, seed: int
    ) -> None:
        """Of five tenants, some of whose jobs run or have ended before."""
        chance = random.Random(seed)
        for number in range(12):
            self.submit_some(queue, f"before-{number}", chance)
        for _ in range(6):
            clock.advance(1)
            job = claimed(queue)
            if chance.random() < 0.5:
                queue.succeed(job, result_of(job))
        jobs = [self.submit_some(queue, f"after-{number}", chance) for number in range(20)]
        foretold = {job.work_key: queue.position(job) for job in jobs}
        assert foretold == {
            one.job.work_key: one.position for one in queue.snapshot([j.id for j in jobs]).values()
        }
        order = self.claim_all(queue, clock)

        assert foretold == {work: order.index(work) for work in foretold}

    def submit_some(self, queue: Queue, work: str, chance: random.Random) -> Job:
        tenant = chance.choice("abcde")
        return queue.submit(new_job(work, tenant=tenant, priority=chance.randint(-1, 1))).job

    def claim_all(self, queue: Queue, clock: FakeClock) -> list[str]:
        """What workers take, one at a time, while nothing ends."""
        works = []
        while (job := queue.claim("w")) is not None:
            works.append(job.work_key)
            clock.advance(0.001)
        return works

    def do_next(self, queue: Queue, clock: FakeClock) -> str:
        job = claimed(queue)
        clock.advance(1)
        assert queue.succeed(job, result_of(job))
        return job.work_key

    def test_workers_at_the_same_moment_claim_different_jobs(
        self, make_queue: Callable[..., Queue]
    ) -> None:
        for number in range(8):
            make_queue().submit(new_job(f"work-{number}"))
        jobs = at_once(8, lambda n: make_queue().claim(f"w{n}"))

        assert len({job.id for job in jobs}) == 8

    def test_a_job_whose_lease_is_over_goes_to_another_worker(
        self, queue: Queue, clock: FakeClock
    ) -> None:
        first = start(queue, new_job(), "w1")
        clock.advance(LEASE_S - 1)
        assert queue.claim("w2") is None
        clock.advance(2)
        second = claimed(queue, "w2")

        assert (second.id, second.worker) == (first.id, "w2")
        assert (second.attempt, second.fence) == (2, 2)

    def test_a_lost_job_keeps_its_place_in_line(self, queue: Queue, clock: FakeClock) -> None:
        start(queue, new_job("lost"), "w1")
        queue.submit(new_job("newer"))
        queue.submit(new_job("high", priority=1))
        clock.advance(LEASE_S + 1)

        assert [claimed(queue, "w2").work_key for _ in range(3)] == ["high", "lost", "newer"]

    def test_the_third_lost_worker_fails_the_job(self, queue: Queue, clock: FakeClock) -> None:
        job = start(queue, new_job())
        for _ in range(2):
            clock.advance(LEASE_S + 1)
            assert claimed(queue).id == job.id
        clock.advance(LEASE_S + 1)
        assert queue.claim("w4") is None
        failed = queue.get("ann", job.id)

        assert (failed.state, failed.attempt) == (JobState.FAILED, 3)
        assert failed.error is not None
        assert failed.error["type"] == "/problems/worker-lost"
        assert failed.finished_at == pytest.approx(clock.now, abs=1)
        assert failed.lease_until is None

    def test_a_cancelled_job_whose_worker_is_lost_ends_cancelled(
        self, queue: Queue, clock: FakeClock
    ) -> None:
        job = start(queue, new_job())
        queue.cancel("ann", job.id)
        clock.advance(LEASE_S + 1)

        assert queue.claim("w2") is None
        assert queue.get("ann", job.id).state is JobState.CANCELLED

    def test_a_clock_put_back_does_not_hold_up_lost_jobs_for_long(
        self, queue: Queue, clock: FakeClock
    ) -> None:
        lost = start(queue, new_job("lost"), "w1")
        alive = start(queue, new_job("alive"), "w2")
        clock.advance(-3600)
        assert queue.claim("w3") is None
        clock.advance(LEASE_S / 2)
        assert queue.heartbeat(alive, "score", 1, 2) is Verdict.GO_ON
        clock.advance(LEASE_S / 2 + 1)

        assert claimed(queue, "w3").id == lost.id
        assert queue.claim("w3") is None

    def test_a_clock_put_back_does_not_hold_up_waiting_jobs(
        self, queue: Queue, clock: FakeClock
    ) -> None:
        queue.submit(new_job())
        clock.advance(-3600)

        assert queue.claim("w1") is not None

    def test_a_clock_put_back_does_not_hold_up_delayed_jobs_for_long(
        self, queue: Queue, clock: FakeClock
    ) -> None:
        job = start(queue, new_job())
        queue.fail(job, PROBLEM, retry_in_s=5)
        clock.advance(-3600)
        assert queue.claim("w1") is None
        clock.advance(max(LONGEST_RETRY_S, LEASE_S))

        assert claimed(queue).id == job.id

    @pytest.mark.parametrize("pause_s", [LONGEST_RETRY_S, LEASE_S])
    def test_a_delay_is_kept_whole(self, queue: Queue, clock: FakeClock, pause_s: float) -> None:
        job = start(queue, new_job())
        queue.fail(job, PROBLEM, retry_in_s=pause_s)
        assert queue.claim("w1") is None
        clock.advance(pause_s - 1)
        assert queue.claim("w1") is None
        clock.advance(1)

        assert claimed(queue).id == job.id

    def test_workers_are_seen_by_their_last_beat(self, queue: Queue, clock: FakeClock) -> None:
        queue.beat("w1", {"device": "cpu"})
        clock.advance(20)
        queue.beat("w2", {"device": "cuda:0"})
        queue.beat("w2", {"device": "cuda:1"})

        assert [worker.id for worker in queue.workers(30)] == ["w1", "w2"]
        (recent,) = queue.workers(10)
        assert (recent.id, recent.facts) == ("w2", {"device": "cuda:1"})
        assert recent.seen_at == pytest.approx(clock.now, abs=1)
