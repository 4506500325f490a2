"""From options to a job."""

from dataclasses import replace

import pytest

from models.painted import painted_card
from service.errors import ModelChanged
from service.submission import ALWAYS, Asked, heatmap_request, require_same_model, submission
from wsi.errors import InvalidOption

CARD = painted_card(16, 0.5)
SHA256 = "a" * 64


def key_of(asked: Asked, *, sha256: str = SHA256, card=CARD, version: str = "1") -> str:  # noqa: ANN001
    return submission("t", "sld_1", sha256, card, "address", asked, version=version).work_key


def test_equal_options_are_equal_work() -> None:
    assert key_of(Asked()) == key_of(Asked())
    assert key_of(Asked(priority=3, idempotency_key="k")) == key_of(Asked())
    assert key_of(Asked(outputs=("png", "csv"))) == key_of(Asked())


@pytest.mark.parametrize(
    "asked",
    [
        Asked(mpp=0.25),
        Asked(stride_px=8),
        Asked(window="hann"),
        Asked(mask="none"),
        Asked(min_tissue=0.2),
        Asked(upsample=True),
        Asked(icc=True),
        Asked(tta=True),
        Asked(outputs=("report",)),
    ],
)
def test_option_that_changes_the_result_is_other_work(asked: Asked) -> None:
    assert key_of(asked) != key_of(Asked())


def test_other_slide_model_or_software_is_other_work() -> None:
    others = {
        key_of(Asked()),
        key_of(Asked(), sha256="b" * 64),
        key_of(Asked(), card=replace(CARD, threshold=0.4)),
        key_of(Asked(), card=replace(CARD, version="2")),
        key_of(Asked(), version="2"),
    }
    assert len(others) == 5


def test_worker_runs_what_was_asked_on_its_own_device() -> None:
    asked = Asked(mpp=0.5, stride_px=8, outputs=("report", "overlay"))
    new = submission("t", "sld_1", SHA256, CARD, "address", asked, version="1")
    request = heatmap_request(new.request, "/slides/a.svs", device="cpu", batch_size=7)
    assert (request.slide, request.device, request.batch_size) == ("/slides/a.svs", "cpu", 7)
    assert (request.mpp, request.stride_px, request.model) == (0.5, 8, "address")
    assert request.formats == (*ALWAYS, "overlay", "report")


def test_another_precision_is_other_work_and_what_the_worker_computes_in() -> None:
    jobs = [
        submission("t", "sld_1", SHA256, CARD, "address", Asked(), version="1", precision=precision)
        for precision in ("auto", "float32", "int8")
    ]
    assert len({job.work_key for job in jobs}) == 3
    request = heatmap_request(jobs[2].request, "/slides/a.svs", device="cpu", batch_size=7)
    assert request.precision == "int8"


def test_job_holds_its_worker_to_the_model_of_its_key_and_no_earlier_release() -> None:
    fields = submission("t", "sld_1", SHA256, CARD, "address", Asked(), version="1.10.0").request
    for version in ("1.10.0", "1.10.1", "2.0"):
        require_same_model(fields, CARD, version)
    with pytest.raises(ModelChanged, match="replaced"):
        require_same_model(fields, replace(CARD, threshold=0.4), "1.10.0")
    with pytest.raises(ModelChanged, match=r"release 1\.10\.0 and the worker is 1\.9\.2"):
        require_same_model(fields, CARD, "1.9.2")


def test_fields_of_the_worker_cannot_be_smuggled_in() -> None:
    new = submission("t", "sld_1", SHA256, CARD, "address", Asked(), version="1")
    fields = {**new.request, "slide": "/etc/passwd", "trust_code": True, "device": "cuda:9"}
    request = heatmap_request(fields, "/slides/a.svs", device="cpu", batch_size=7)
    assert (request.slide, request.trust_code, request.device) == ("/slides/a.svs", False, "cpu")


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (Asked(mpp=300.0), "mpp 300"),
        (Asked(mpp=float("nan")), "mpp nan"),
        (Asked(stride_px=17), "16"),
        (Asked(mask="/etc/passwd"), "saturation"),
        (Asked(outputs=("word",)), "overlay"),
        (Asked(min_tissue=1.5), "min_tissue 1.5"),
        (Asked(min_tissue=float("nan")), "min_tissue nan"),
        (Asked(priority=1000), "priority 1000"),
        (Asked(idempotency_key="a b"), "Idempotency-Key"),
        (Asked(idempotency_key="a" * 201), "Idempotency-Key"),
    ],
)
def test_option_out_of_its_range_is_refused(asked: Asked, says: str) -> None:
    with pytest.raises(InvalidOption, match=says):
        key_of(asked)
