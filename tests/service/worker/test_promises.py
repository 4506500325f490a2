"""What a worker owes to those who ask: their model, their share of the disk, the right folder."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from models.card import ModelCard, write_card
from models.painted import painted_card
from service.access.auth import Owner
from service.errors import QuotaExceeded
from service.jobs import Job, JobState, NewJob, Verdict
from service.results import ResultFolder
from service.settings import MIB
from service.storage.gatekeeper import admit
from service.storage.library import Library
from service.storage.reservation import Held
from service.worker.folder import describe_result
from tests.service.worker.workshop import TENANT, TILE_PX, Workshop, ended, slug
from wsi import __version__

CARD = painted_card(TILE_PX, 0.5)
OTHER_CARD = replace(CARD, threshold=0.25)


def facts_of(workshop: Workshop, job: Job) -> dict[str, object]:
    path = workshop.settings.data / "slides" / job.slide_id / "facts.json"
    facts: dict[str, object] = json.loads(path.read_text())
    return facts


def replace_model(workshop: Workshop, card: ModelCard) -> None:
    write_card(card, Path(workshop.model) / "card.json")


def test_stale_worker_that_fails_for_good_leaves_what_another_one_published(
    workshop: Workshop, tmp_path: Path
) -> None:
    """It lost its database for longer than its lease; the job has succeeded elsewhere."""

    class CutOff:
        def __getattr__(self, name: str) -> Any:
            return getattr(workshop.queue, name)

        def heartbeat(self, *_: object) -> Verdict:
            raise OperationalError("statement", {}, Exception("server closed the connection"))

    text = tmp_path / "letter.txt"
    text.write_text("Dear Sir")
    job = workshop.submit(workshop.add_slide(text))
    folder = workshop.folder(job)

    def overtake(point: str) -> None:
        if point == "after-claim":
            assert workshop.queue.hand_back(workshop.get(job))
            theirs = workshop.queue.claim("another")
            assert theirs is not None
            folder.mkdir(parents=True)
            for name in ("manifest.json", "run.json"):
                (folder / name).write_text(json.dumps({"work_sha256": "0" * 64, "outputs": {}}))
            assert workshop.queue.succeed(theirs, describe_result(theirs, folder))

    job = ended(workshop, job, queue=CutOff(), fault=overtake)

    assert (job.state, job.worker) == (JobState.SUCCEEDED, "another")
    assert (folder / "manifest.json").is_file()


def test_unfinished_files_of_a_job_that_failed_for_good_go_before_the_queue_is_told(
    workshop: Workshop, tmp_path: Path
) -> None:
    """On a full disk nothing can be told while they are there."""
    seen = []

    class Watched:
        def __getattr__(self, name: str) -> Any:
            return getattr(workshop.queue, name)

        def fail(self, *asked: Any, **options: Any) -> Any:
            seen.append(partial.exists())
            return workshop.queue.fail(*asked, **options)

    text = tmp_path / "letter.txt"
    text.write_text("Dear Sir")
    job = workshop.submit(workshop.add_slide(text))
    partial = ResultFolder(workshop.folder(job)).partial
    partial.mkdir(parents=True)
    (partial / "scores").write_bytes(bytes(9))

    assert ended(workshop, job, queue=Watched()).state is JobState.FAILED
    assert seen == [False]


def test_job_of_the_model_and_release_that_the_worker_has_is_done(workshop: Workshop) -> None:
    job = ended(workshop, workshop.submit(card_sha256=CARD.sha256, version=__version__))

    assert job.state is JobState.SUCCEEDED
    manifest = json.loads((workshop.folder(job) / "manifest.json").read_text())
    assert manifest["model"]["card_sha256"] == CARD.sha256


def test_job_whose_model_was_replaced_since_is_refused(workshop: Workshop) -> None:
    """Its key names the model of before: nobody may find another one's heatmap under it."""
    job = workshop.submit(card_sha256=CARD.sha256, version=__version__)
    replace_model(workshop, OTHER_CARD)

    job = ended(workshop, job)

    assert (job.state, job.attempt, slug(job)) == (JobState.FAILED, 3, "model-changed")
    assert job.error is not None
    assert "replaced" in job.error["detail"]
    assert not workshop.folder(job).exists()


def test_model_that_is_replaced_between_the_look_and_the_load_is_refused(
    workshop: Workshop,
) -> None:
    job = workshop.submit(card_sha256=CARD.sha256)

    job = ended(workshop, job, check=lambda _: replace_model(workshop, OTHER_CARD))

    assert (job.state, slug(job)) == (JobState.FAILED, "model-changed")
    assert not workshop.folder(job).exists()


def test_job_of_an_earlier_release_is_done(workshop: Workshop) -> None:
    job = ended(workshop, workshop.submit(card_sha256=CARD.sha256, version="0.0.0"))

    assert job.state == JobState.SUCCEEDED


def test_job_that_was_asked_of_a_later_release_is_refused(workshop: Workshop) -> None:
    job = ended(workshop, workshop.submit(card_sha256=CARD.sha256, version="999.0"))

    assert (job.state, job.attempt, slug(job)) == (JobState.FAILED, 3, "model-changed")
    assert job.error is not None
    assert "release 999.0" in job.error["detail"]


def test_job_without_room_in_its_tenants_quota_writes_nothing(workshop: Workshop) -> None:
    def refuse(held: Held) -> None:
        raise QuotaExceeded(f"{held.tenant} bytes are too many")

    job = ended(workshop, workshop.submit(), check=refuse)

    assert (job.state, job.attempt, slug(job)) == (JobState.FAILED, 1, "quota-exceeded")
    assert not workshop.folder(job).exists()
    assert not workshop.partial(job).exists()
    assert not [*(workshop.settings.data / "reservations").glob("*.hold")]


@pytest.mark.parametrize(
    ("quota_bytes", "state"), [(16 * MIB, JobState.FAILED), (20 * MIB, JobState.SUCCEEDED)]
)
def test_result_is_promised_room_in_the_quota_until_the_queue_knows_it(
    workshop: Workshop, quota_bytes: int, state: JobState
) -> None:
    """The least that is asked for is 16 MiB, beside the slide, which counts as well."""
    settings = workshop.settings.model_copy(
        update={"quota_bytes": quota_bytes, "disk_floor_bytes": 0}
    )
    library = Library(settings.data, workshop.queue._engine, settings, gate=admit)
    slide = library.store(TENANT, [workshop.master.read_bytes()]).slide
    fields = {"model": workshop.model, "mask": "none", "formats": ["csv"]}
    job = workshop.queue.submit(NewJob(TENANT, slide.id, "0" * 64, fields, key_id="key_1")).job
    held: list[int] = []

    def look(point: str) -> None:
        if point == "before-commit":
            held.append(library._reservations.held(TENANT))

    job = ended(workshop, job, settings=settings, slides=library, fault=look)
    library.close()

    assert job.state is state
    if state is JobState.FAILED:
        assert slug(job) == "quota-exceeded"
    else:
        assert 16 * MIB < held[0] < 17 * MIB
        assert library._reservations.held(TENANT) == 0
        assert library.quota.used(Owner(TENANT, "key_1")) < MIB


def test_resolution_that_one_job_was_given_is_not_the_slides(workshop: Workshop) -> None:
    given = ended(workshop, workshop.submit(mpp=0.25, upsample=True))
    assert given.state is JobState.SUCCEEDED
    assert "mpp" not in facts_of(workshop, given)

    stated = ended(workshop, workshop.submit(given.slide_id))
    assert facts_of(workshop, stated)["mpp"] == [0.5, 0.5]


RUNNER_THAT_COUNTS_LOADS = """
import os, sys
from models import infer
from service.worker import runner

load = infer.load_classifier

def counting(*arguments, **options):
    with open({file!r}, "a") as file:
        file.write(options["precision"] + "\\n")
    return load(*arguments, **options)

infer.load_classifier = counting
runner.serve()
os._exit(0)
"""


def test_model_is_loaded_once_in_the_precision_of_the_service(
    workshop: Workshop, tmp_path: Path
) -> None:
    """It is loaded before the first job, which need not wait for it."""
    loads = tmp_path / "loads"
    command = (sys.executable, "-c", RUNNER_THAT_COUNTS_LOADS.format(file=str(loads)))
    settings = workshop.settings.model_copy(update={"precision": "float32"})

    job = workshop.submit(precision="float32")
    job = ended(workshop, job, settings=settings, command=command)

    assert job.state is JobState.SUCCEEDED
    assert loads.read_text() == "float32\n"
