"""Jobs and results with defaults."""

from typing import Any

from service.jobs import Job, NewJob, NewResult

LEASE_S = 60.0
PROBLEM = {"type": "/problems/corrupt-slide", "title": "damaged", "status": 422, "detail": "x"}


def new_job(work: str = "work", tenant: str = "ann", **fields: Any) -> NewJob:
    given = {"slide_id": "sld_1", "request": {"model": "idc", "mpp": None}} | fields
    return NewJob(tenant=tenant, work_key=work, **given)


def result_of(job: Job, **fields: Any) -> NewResult:
    given = {"id": job.result_id, "slide_id": job.slide_id, "work_key": job.work_key}
    return NewResult(**given | {"size_bytes": 1000, "manifest_sha256": "ab" * 32} | fields)
