"""What every queue must do with what is asked of it."""

from abc import abstractmethod
from collections.abc import Callable

import pytest

from service.errors import IdempotencyMismatch, NotFound, QueueFull
from service.jobs import JobState, Queue
from tests.service.jobs.builders import PROBLEM, at_once, claimed, finish, new_job, start


class SubmittingContract:
    @abstractmethod
    def forget_result(self, queue: Queue, result_id: str) -> None:
        """As when somebody deletes a result."""

    @abstractmethod
    def forget_slide(self, queue: Queue, slide_id: str) -> None:
        """As when somebody deletes a slide."""

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

    def test_a_job_says_which_key_asked_first(self, queue: Queue) -> None:
        job = queue.submit(new_job(key_id="key_1")).job
        again = queue.submit(new_job(key_id="key_2")).job

        assert (job.key_id, again.key_id) == ("key_1", "key_1")
        assert queue.submit(new_job("other")).job.key_id is None
        assert claimed(queue).key_id == "key_1"

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

    def test_work_on_a_slide_that_was_deleted_is_refused(self, queue: Queue) -> None:
        done = finish(queue, new_job("done", idempotency_key="k"))
        self.forget_slide(queue, "sld_1")

        with pytest.raises(NotFound, match="no such slide"):
            queue.submit(new_job())
        assert queue.depth()[JobState.QUEUED] == 0
        assert queue.submit(new_job("done", idempotency_key="k")).job.id == done.id
        assert queue.submit(new_job("done")).job.cached

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

    def test_a_full_queue_still_answers_from_results(
        self, make_queue: Callable[..., Queue]
    ) -> None:
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
