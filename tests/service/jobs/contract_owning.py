"""What every queue must do for the worker that has a job, and against one that has lost it."""

import pytest

from service.errors import Conflict
from service.jobs import JobState, Queue, Verdict
from service.jobs.job import MAX_ATTEMPTS
from tests.service.jobs.builders import (
    LEASE_S,
    PROBLEM,
    claimed,
    finish,
    new_job,
    result_of,
    start,
)
from tests.service.jobs.clock import FakeClock


class OwningContract:
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

    def test_a_job_handed_back_for_later_waits_as_if_untried(
        self, queue: Queue, clock: FakeClock
    ) -> None:
        job = start(queue, new_job(), "w1")
        for _ in range(MAX_ATTEMPTS + 1):
            assert queue.hand_back(job, retry_in_s=10)
            clock.advance(9)
            assert queue.claim("w2") is None
            clock.advance(1)
            job = claimed(queue, "w2")

        assert (job.attempt, job.fence) == (1, MAX_ATTEMPTS + 2)

    def test_a_cancelled_job_handed_back_is_cancelled(self, queue: Queue) -> None:
        job = start(queue, new_job())
        queue.cancel("ann", job.id)

        assert queue.hand_back(job)
        assert queue.get("ann", job.id).state is JobState.CANCELLED

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
