"""The queue: what waits, what runs, what became of it.

To add a store, write a class with the methods of `Queue`, name it in QUEUES, and prove it by
inheriting `QueueContract` of the tests.
"""

from service.jobs.job import Job, JobState, NewJob, NewResult, Submitted, Verdict
from service.jobs.queue import Queue, Snapshot, WorkerSeen

__all__ = [
    "QUEUES",
    "Job",
    "JobState",
    "NewJob",
    "NewResult",
    "Queue",
    "Snapshot",
    "Submitted",
    "Verdict",
    "WorkerSeen",
]

QUEUES = {
    "memory": "service.jobs.memory:MemoryQueue",
    "sql": "service.jobs.sql:SqlQueue",
}
"""Name to "module:class"."""
