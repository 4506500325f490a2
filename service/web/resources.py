"""How jobs, slides, batches, results and models look on the wire."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from service.batches import Batch
from service.catalogue import Catalogue, Offered
from service.jobs import Job, JobState, Snapshot
from service.problems import problem
from service.schemas import (
    Artefact,
    BatchJson,
    BatchLinks,
    JobJson,
    JobLinks,
    ModelJson,
    Problem,
    ResultJson,
    ResultLinks,
    ResultModel,
    ResultSlide,
    SlideJson,
    SlideLinks,
)
from service.storage.artefacts import ARTEFACTS, ZARR, planes_of, read_manifest, zarr_summary
from service.storage.library import StoredSlide
from service.storage.shelf import StoredResult

__all__ = ["Resources"]

SCORING = "score"


@dataclass(frozen=True)
class Resources:
    """`base`: what goes before the path of each link; empty, or where a proxy shows the service."""

    catalogue: Catalogue
    base: str
    clock: Callable[[], float]

    def link(self, *parts: str) -> str:
        return "/".join((f"{self.base}/v1", *parts))

    def job(self, snapshot: Snapshot) -> JobJson:
        job = snapshot.job
        succeeded = job.state is JobState.SUCCEEDED
        return JobJson(
            id=job.id,
            state=job.state,
            stage=job.stage if job.state is JobState.RUNNING else None,
            done=job.done,
            total=job.total,
            queue_position=snapshot.position,
            eta_s=_eta_s(job, self.clock()),
            attempt=job.attempt,
            cached=job.cached,
            slide_id=job.slide_id,
            model=self.catalogue.name_from_address(job.request["model"]),
            priority=job.priority,
            batch_id=job.batch_id,
            created_at=_time(job.created_at),
            started_at=_time_or_none(job.started_at),
            finished_at=_time_or_none(job.finished_at),
            error=_problem(job.error),
            result_id=job.result_id if succeeded else None,
            links=JobLinks(
                self=self.link("jobs", job.id),
                events=self.link("jobs", job.id, "events"),
                cancel=self.link("jobs", job.id, "cancel"),
                slide=self.link("slides", job.slide_id),
                result=self.link("results", job.result_id) if succeeded else None,
            ),
        )

    def slide(self, slide: StoredSlide) -> SlideJson:
        facts: Mapping[str, Any] = slide.facts or {}
        return SlideJson(
            id=slide.id,
            sha256=slide.sha256,
            size_bytes=slide.size_bytes,
            kind=slide.kind,
            size0=facts.get("size0"),
            mpp=facts.get("mpp"),
            created_at=_time(slide.created_at),
            links=SlideLinks(
                self=self.link("slides", slide.id),
                dzi=self.link("slides", slide.id, "slide.dzi"),
                thumbnail=self.link("slides", slide.id, "thumbnail.jpg"),
            ),
        )

    def batch(self, batch: Batch) -> BatchJson:
        going = batch.counts.get(JobState.QUEUED, 0) + batch.counts.get(JobState.RUNNING, 0)
        return BatchJson(
            id=batch.id,
            created_at=_time(batch.created_at),
            counts=dict(batch.counts),
            refused=batch.refused,
            is_done=going == 0,
            jobs=list(batch.jobs),
            links=BatchLinks(
                self=self.link("batches", batch.id),
                report=self.link("batches", batch.id, "report.csv"),
            ),
        )

    def result(self, result: StoredResult) -> ResultJson:
        manifest = read_manifest(result.folder)
        facts = manifest["slide"]
        classes, channels = planes_of(result.folder)
        return ResultJson(
            id=result.id,
            job_id=result.job_id,
            slide_id=result.slide_id,
            created_at=_time(result.created_at),
            model=ResultModel(**manifest["model"]),
            classes=list(classes),
            channels=list(channels),
            positive_class=manifest["summary"]["positive_class"],
            parameters=manifest["parameters"],
            grid=manifest["grid"],
            slide=ResultSlide(size0=facts["size0"], mpp=facts["mpp"], bounds0=facts["bounds0"]),
            statistics=manifest["summary"],
            warnings=manifest["warnings"],
            outcome=manifest["outcome"],
            artefacts=self._artefacts(result, manifest["outputs"]),
            links=ResultLinks(
                self=self.link("results", result.id),
                job=self.link("jobs", result.job_id),
                slide=self.link("slides", result.slide_id),
            ),
        )

    def model(self, offered: Offered) -> ModelJson:
        """The card less the names of the weights' files, which are the operator's."""
        card = offered.card
        members = [
            {name: value for name, value in member.to_json().items() if name != "file"}
            for member in card.members
        ]
        fields = card.to_json() | {
            "sha256": card.sha256,
            "is_default": card.name == self.catalogue.default,
            "weights": {"sha256": card.weights_sha256},
            **({"members": members} if members else {}),
        }
        return ModelJson(**fields)

    def _artefacts(
        self, result: StoredResult, outputs: Mapping[str, Mapping[str, Any]]
    ) -> list[Artefact]:
        files = [
            Artefact(
                name=artefact.name,
                media_type=artefact.media_type,
                size_bytes=outputs[artefact.file]["size_bytes"],
                sha256=outputs[artefact.file]["sha256"],
                href=self.link("results", result.id, artefact.href),
            )
            for artefact in ARTEFACTS
            if artefact.file in outputs
        ]
        sha256, size_bytes = zarr_summary(result.folder)
        zarr = Artefact(
            name=ZARR,
            media_type="application/vnd.zarr; version=3",
            size_bytes=size_bytes,
            sha256=sha256,
            href=self.link("results", result.id, ZARR),
        )
        return [*files, zarr]


def _eta_s(job: Job, now_s: float) -> float | None:
    """From the rate since the attempt began; what comes after scoring takes little."""
    if job.state is not JobState.RUNNING or job.stage != SCORING or job.started_at is None:
        return None
    if not 0 < job.done <= job.total:
        return None
    return round((now_s - job.started_at) / job.done * (job.total - job.done), 1)


def _problem(error: Mapping[str, Any] | None) -> Problem | None:
    if error is None:
        return None
    return Problem(**{**problem("internal-error", ""), **error})


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _time_or_none(seconds: float | None) -> datetime | None:
    return None if seconds is None else _time(seconds)
