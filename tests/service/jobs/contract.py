"""What every queue must do. A store's tests inherit this and give a `make_queue`."""

import threading
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import pytest

from service.errors import Conflict, IdempotencyMismatch, NotFound, QueueFull
from service.jobs import Job, JobState, Queue, Verdict
from tests.service.jobs.builders import LEASE_S, PROBLEM, new_job, result_of
from tests.service.jobs.clock import FakeClock

MISSING = "job_01ARZ3NDEKTSV4RRFFQ69G5FAV"


class QueueContract:
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

    @abstractmethod
    def forget_result(self, queue: Queue, result_id: str) -> None:
        """As when somebody deletes a result."""

    # submitting

    def test_a_new_job_waits_with_all_that_was_asked(self, queue: Queue) -> None:
        asked = new_job(priority=3, batch_id="bat_1", request={"mpp": 0.25, "formats": ["png"]})
        job = queue.submit(asked).job

        assert queue.get("ann", job.id) == job
        assert (job.state, job.priority, job.batch_id) == (JobState.QUEUED, 3, "bat_1")
        assert job.request == {"mpp": 0.25, "formats": ["png"]}
        assert (job.attempt, job.fence, job.done, job.total) == (0, 0, 0, 0)
        assert (job.worker, job.lease_until, job.error, job.finished_at) == (None,) * 4
        assert job.id.startswith("job_")
        assert job.result_id.startswith("res_")

    def test_equal_work_that_waits_or_runs_is_one_job(self, queue: Queue) -> None:
        first = queue.submit(new_job())
        second = queue.submit(new_job())
        queue.claim("w1")
        third = queue.submit(new_job())

        assert (first.created, second.created, third.created) == (True, False, False)
        assert first.job.id == second.job.id == third.job.id
        assert third.job.state is JobState.RUNNING

    def test_another_tenant_does_its_own_work(self, queue: Queue) -> None:
        mine, theirs = queue.submit(new_job()), queue.submit(new_job(tenant="bob"))

        assert theirs.created
        assert mine.job.id != theirs.job.id

    def test_work_that_has_a_result_succeeds_at_once(self, queue: Queue) -> None:
        done = finish(queue, new_job())
        again = queue.submit(new_job())

        assert again.created
        assert again.job.id != done.id
        assert (again.job.state, again.job.cached) == (JobState.SUCCEEDED, True)
        assert again.job.result_id == done.result_id
        assert again.job.finished_at is not None
        assert queue.claim("w1") is None

    def test_another_tenants_result_is_none_of_mine(self, queue: Queue) -> None:
        finish(queue, new_job())

        assert queue.submit(new_job(tenant="bob")).job.state is JobState.QUEUED

    def test_work_whose_result_was_deleted_is_done_again(self, queue: Queue) -> None:
        done = finish(queue, new_job())
        self.forget_result(queue, done.result_id)
        again = finish(queue, new_job())

        assert again.result_id != done.result_id
        assert not again.cached

    def test_work_that_failed_or_was_cancelled_may_be_asked_for_again(self, queue: Queue) -> None:
        queue.submit(new_job())
        queue.fail(claimed(queue), PROBLEM, retry_in_s=None)
        second = queue.submit(new_job())
        queue.cancel("ann", second.job.id)
        third = queue.submit(new_job())

        assert (second.created, third.created) == (True, True)
        assert third.job.state is JobState.QUEUED

    def test_work_that_is_being_cancelled_does_not_stand_for_new_work(self, queue: Queue) -> None:
        running = start(queue, new_job())
        queue.cancel("ann", running.id)
        again = queue.submit(new_job())

        assert again.created
        assert again.job.id != running.id
        assert queue.submit(new_job()).job.id == again.job.id

    def test_a_repeated_idempotency_key_answers_the_job_of_before(self, queue: Queue) -> None:
        first = queue.submit(new_job(idempotency_key="k"))
        queue.fail(claimed(queue), PROBLEM, retry_in_s=None)
        again = queue.submit(new_job(idempotency_key="k"))

        assert not again.created
        assert again.job.id == first.job.id
        assert again.job.state is JobState.FAILED

    def test_a_key_that_met_work_under_way_stands_for_it_from_then_on(self, queue: Queue) -> None:
        first = queue.submit(new_job(idempotency_key="mine"))
        queue.submit(new_job(idempotency_key="yours"))
        queue.cancel("ann", first.job.id)

        assert queue.submit(new_job(idempotency_key="yours")).job.id == first.job.id

    def test_an_idempotency_key_for_other_work_is_refused(self, queue: Queue) -> None:
        queue.submit(new_job("one", idempotency_key="k"))

        with pytest.raises(IdempotencyMismatch, match="'k'"):
            queue.submit(new_job("other", idempotency_key="k"))
        assert queue.depth()[JobState.QUEUED] == 1

    def test_tenants_may_choose_the_same_idempotency_key(self, queue: Queue) -> None:
        mine = queue.submit(new_job("one", idempotency_key="k"))
        theirs = queue.submit(new_job("two", tenant="bob", idempotency_key="k"))

        assert mine.job.id != theirs.job.id

    def test_clients_who_submit_one_key_at_the_same_moment_get_one_job(
        self, make_queue: Callable[..., Queue]
    ) -> None:
        submitted = at_once(8, lambda _: make_queue().submit(new_job(idempotency_key="k")))

        assert len({one.job.id for one in submitted}) == 1
        assert sum(one.created for one in submitted) == 1

    def test_equal_work_submitted_at_the_same_moment_is_one_job(
        self, make_queue: Callable[..., Queue]
    ) -> None:
        submitted = at_once(
            8, lambda n: make_queue().submit(new_job(idempotency_key=f"client-{n}"))
        )

        assert len({one.job.id for one in submitted}) == 1
        assert sum(one.created for one in submitted) == 1

    def test_a_full_queue_takes_no_new_work(self, make_queue: Callable[..., Queue]) -> None:
        queue = make_queue(max_queued=2, max_queued_per_tenant=2)
        queue.submit(new_job("a"))
        queue.submit(new_job("b", tenant="bob"))

        with pytest.raises(QueueFull, match="2 jobs wait"):
            queue.submit(new_job("c", tenant="cid"))
        assert not queue.submit(new_job("a")).created
        queue.claim("w1")
        assert queue.submit(new_job("c", tenant="cid")).created

    def test_a_tenant_may_not_fill_the_queue_alone(self, make_queue: Callable[..., Queue]) -> None:
        queue = make_queue(max_queued=10, max_queued_per_tenant=1)
        queue.submit(new_job("a"))

        with pytest.raises(QueueFull, match="1 jobs of yours wait"):
            queue.submit(new_job("b"))
        assert queue.submit(new_job("b", tenant="bob")).created

    def test_a_full_queue_still_answers_from_results(self, make_queue: Callable[..., Queue]):
        queue = make_queue(max_queued=1, max_queued_per_tenant=1)
        finish(queue, new_job("done"))
        queue.submit(new_job("waits"))

        assert queue.submit(new_job("done")).job.cached

    def test_clients_at_the_same_moment_do_not_overfill_the_queue(
        self, make_queue: Callable[..., Queue]
    ) -> None:
        def submit(number: int) -> bool:
            try:
                return make_queue(max_queued=3).submit(new_job(f"work-{number}")).created
            except QueueFull:
                return False

        assert sum(at_once(8, submit)) == 3

    # looking

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
        queue.fail(claimed(queue), PROBLEM, retry_in_s=1000)
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
            high.id: 0,
            jobs[0].id: 2,  # behind `high` and the job whose lease is over
            jobs[3].id: 5,
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
        assert queue.depth("bob")[JobState.QUEUED] == 1
        assert queue.depth("bob")[JobState.SUCCEEDED] == 0

    # claiming

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

    # owning

    def test_heartbeats_prolong_the_lease_and_tell_progress(
        self, queue: Queue, clock: FakeClock
    ) -> None:
        job = start(queue, new_job(), "w1")
        clock.advance(LEASE_S - 1)
        verdict = queue.heartbeat(job, "score", 3, 12)
        clock.advance(LEASE_S - 1)
        seen = queue.get("ann", job.id)

        assert verdict is Verdict.GO_ON
        assert queue.claim("w2") is None
        assert (seen.stage, seen.done, seen.total) == ("score", 3, 12)
        assert seen.updated_at > job.updated_at

    def test_a_late_owner_goes_on_while_nobody_else_has_its_job(
        self, queue: Queue, clock: FakeClock
    ) -> None:
        job = start(queue, new_job())
        clock.advance(LEASE_S + 1)

        assert queue.heartbeat(job, None, 0, 0) is Verdict.GO_ON
        assert queue.claim("w2") is None

    def test_a_stale_owner_changes_nothing(self, queue: Queue, clock: FakeClock) -> None:
        stale = start(queue, new_job(), "w1")
        clock.advance(LEASE_S + 1)
        owned = claimed(queue, "w2")

        assert queue.heartbeat(stale, "score", 1, 2) is Verdict.LOST
        assert not queue.succeed(stale, result_of(stale))
        assert not queue.fail(stale, PROBLEM, retry_in_s=None)
        assert not queue.fail(stale, PROBLEM, retry_in_s=1)
        assert not queue.hand_back(stale)
        assert not queue.confirm_cancel(stale)
        assert queue.get("ann", owned.id) == owned
        assert queue.succeed(owned, result_of(owned))

    def test_success_publishes_the_result_with_the_job(
        self, queue: Queue, clock: FakeClock
    ) -> None:
        job = start(queue, new_job())
        assert queue.succeed(job, result_of(job))
        done = queue.get("ann", job.id)

        assert (done.state, done.result_id) == (JobState.SUCCEEDED, job.result_id)
        assert not done.cached
        assert done.finished_at == pytest.approx(clock.now, abs=1)
        assert done.lease_until is None

    def test_a_success_whose_answer_was_lost_may_be_told_again(self, queue: Queue) -> None:
        job = start(queue, new_job())

        assert queue.succeed(job, result_of(job))
        assert queue.succeed(job, result_of(job))

    def test_of_two_results_of_equal_work_the_first_is_kept(self, queue: Queue) -> None:
        slow = start(queue, new_job(), "w1")
        queue.cancel("ann", slow.id)  # and its owner is at the end before it asks
        quick = start(queue, new_job(), "w2")
        assert queue.succeed(quick, result_of(quick))
        assert queue.succeed(slow, result_of(slow))
        after = queue.get("ann", slow.id)

        assert (after.state, after.cached) == (JobState.SUCCEEDED, True)
        assert after.result_id == quick.result_id
        assert queue.submit(new_job()).job.result_id == quick.result_id

    def test_a_failure_for_good_keeps_its_problem(self, queue: Queue) -> None:
        job = start(queue, new_job())
        queue.heartbeat(job, "score", 3, 12)
        assert queue.fail(job, PROBLEM, retry_in_s=None)
        failed = queue.get("ann", job.id)

        assert (failed.state, failed.error) == (JobState.FAILED, PROBLEM)
        assert failed.stage == "score"
        assert queue.heartbeat(job, None, 0, 0) is Verdict.LOST
        assert queue.claim("w1") is None

    def test_a_failure_to_be_tried_again_waits_first(self, queue: Queue, clock: FakeClock) -> None:
        job = start(queue, new_job())
        assert queue.fail(job, PROBLEM, retry_in_s=30)
        waiting = queue.get("ann", job.id)

        assert (waiting.state, waiting.error) == (JobState.QUEUED, None)
        assert (waiting.worker, waiting.stage, waiting.lease_until) == (None, None, None)
        clock.advance(29)
        assert queue.claim("w1") is None
        clock.advance(2)
        assert claimed(queue).attempt == 2

    def test_the_third_failure_is_for_good(self, queue: Queue, clock: FakeClock) -> None:
        job = start(queue, new_job())
        for _ in range(2):
            queue.fail(job, PROBLEM, retry_in_s=0)
            clock.advance(1)
            job = claimed(queue)
        assert queue.fail(job, PROBLEM, retry_in_s=0)

        assert queue.get("ann", job.id).state is JobState.FAILED
        assert queue.get("ann", job.id).error == PROBLEM

    def test_a_cancelled_job_is_not_tried_again(self, queue: Queue) -> None:
        job = start(queue, new_job())
        queue.cancel("ann", job.id)

        assert queue.fail(job, PROBLEM, retry_in_s=0)
        assert queue.get("ann", job.id).state is JobState.CANCELLED
        assert queue.get("ann", job.id).finished_at is not None

    def test_a_job_handed_back_waits_as_if_untried(self, queue: Queue) -> None:
        job = start(queue, new_job(), "w1")
        newer = queue.submit(new_job("newer")).job
        queue.heartbeat(job, "score", 3, 12)
        assert queue.hand_back(job)
        waiting = queue.get("ann", job.id)

        assert (waiting.state, waiting.attempt) == (JobState.QUEUED, 0)
        assert (waiting.worker, waiting.stage, waiting.done) == (None, None, 0)
        assert queue.position(newer) == 1
        assert queue.heartbeat(job, None, 0, 0) is Verdict.LOST
        again = claimed(queue, "w2")
        assert (again.id, again.attempt, again.fence) == (job.id, 1, 2)

    def test_a_cancelled_job_handed_back_is_cancelled(self, queue: Queue) -> None:
        job = start(queue, new_job())
        queue.cancel("ann", job.id)

        assert queue.hand_back(job)
        assert queue.get("ann", job.id).state is JobState.CANCELLED

    # cancelling

    def test_a_queued_job_is_cancelled_at_once(self, queue: Queue, clock: FakeClock) -> None:
        job = queue.submit(new_job()).job
        cancelled = queue.cancel("ann", job.id)

        assert cancelled == queue.get("ann", job.id)
        assert cancelled.state is JobState.CANCELLED
        assert cancelled.finished_at == pytest.approx(clock.now, abs=1)
        assert queue.claim("w1") is None

    def test_a_running_job_is_cancelled_by_its_owner(self, queue: Queue) -> None:
        job = start(queue, new_job())
        assert not queue.confirm_cancel(job)
        asked = queue.cancel("ann", job.id)

        assert (asked.state, asked.cancel_requested) == (JobState.RUNNING, True)
        assert queue.heartbeat(job, "score", 1, 2) is Verdict.CANCEL
        assert queue.confirm_cancel(job)
        assert queue.get("ann", job.id).state is JobState.CANCELLED

    def test_a_job_that_nobody_holds_any_more_is_cancelled_at_once(
        self, queue: Queue, clock: FakeClock
    ) -> None:
        job = start(queue, new_job())
        clock.advance(LEASE_S + 1)

        assert queue.cancel("ann", job.id).state is JobState.CANCELLED
        assert queue.heartbeat(job, None, 0, 0) is Verdict.LOST

    def test_cancelling_twice_is_no_error(self, queue: Queue) -> None:
        job = queue.submit(new_job()).job

        assert queue.cancel("ann", job.id) == queue.cancel("ann", job.id)

    def test_a_finished_job_cannot_be_cancelled(self, queue: Queue) -> None:
        job = finish(queue, new_job())

        with pytest.raises(Conflict, match="succeeded"):
            queue.cancel("ann", job.id)

    # workers

    def test_workers_are_seen_by_their_last_beat(self, queue: Queue, clock: FakeClock) -> None:
        queue.beat("w1", {"device": "cpu"})
        clock.advance(20)
        queue.beat("w2", {"device": "cuda:0"})
        queue.beat("w2", {"device": "cuda:1"})

        assert [worker.id for worker in queue.workers(30)] == ["w1", "w2"]
        (recent,) = queue.workers(10)
        assert (recent.id, recent.facts) == ("w2", {"device": "cuda:1"})
        assert recent.seen_at == pytest.approx(clock.now, abs=1)


def claimed(queue: Queue, worker: str = "w1") -> Job:
    job = queue.claim(worker)
    assert job is not None
    return job


def start(queue: Queue, new: Any, worker: str = "w1") -> Job:
    """Submits the only job that may run, and claims it."""
    submitted = queue.submit(new).job
    job = claimed(queue, worker)
    assert job.id == submitted.id
    return job


def finish(queue: Queue, new: Any) -> Job:
    job = start(queue, new)
    assert queue.succeed(job, result_of(job))
    return queue.get(job.tenant, job.id)


def at_once(threads: int, act: Callable[[int], Any]) -> list[Any]:
    """Each thread does it when all are there; what they answered, or raised."""
    barrier, answers = threading.Barrier(threads), [None] * threads

    def run(number: int) -> None:
        barrier.wait()
        answers[number] = act(number)

    workers = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return answers
