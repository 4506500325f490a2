"""`wsi doctor --tune`: what it tries, keeps and tells, and who uses it then."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from models.infer import load_classifier
from models.registry import resolve_model
from models.speed.trials import Trial
from models.speed.tuning import Tuning, keep_tuning
from service.cli import app
from service.doctor import examine
from service.pipeline import run_request
from service.request import HeatmapRequest
from service.settings import MachineSettings, Settings
from service.tuning import _is_steady, describe_tunings, sample_tiles, tune
from tests.models.small_models import make_card, write_model
from wsi.errors import ResultExists
from wsi.phantom import draw_phantom

PHANTOM_PX = 3_000
WAYS = Tuning("plain", "float32", 8), Tuning("filtered", "float32", 8)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model", make_card(tile_px=50, input_px=50))


def tuned(model: Path, folder: Path) -> tuple[dict[str, object], list[str]]:
    heard: list[str] = []
    facts = tune(
        str(model),
        folder,
        device="cpu",
        ways=WAYS,
        phantom_px=PHANTOM_PX,
        trial_s=0,
        say=heard.append,
    )
    return facts, heard


@pytest.mark.slow
def test_what_was_found_is_kept_and_used(tmp_path: Path, model: Path) -> None:
    before = torch.get_num_threads()

    facts, heard = tuned(model, tmp_path / "tuning")

    assert torch.get_num_threads() == before
    cores = len(os.sched_getaffinity(0))
    assert any(line.startswith(f"{cores} of {cores} cores") for line in heard)
    assert Path(str(facts["kept"])).is_file()
    classifier = load_classifier(model, "cpu", tuning=tmp_path / "tuning")
    assert "tuned 20" in classifier.device
    assert len(heard) >= len(WAYS) + 3  # each way, other batches, threads
    assert any("filtered" in line for line in heard)


@pytest.mark.parametrize(("again", "steady"), [(100, True), (118, True), (85, True), (60, False)])
def test_a_machine_that_is_busy_meanwhile_is_noticed(again: float, steady: bool) -> None:
    first = Trial("plain", "float32", 8, tiles_s=100)

    assert _is_steady(first, replace(first, tiles_s=again)) is steady


def test_a_run_says_in_its_record_that_it_was_tuned(tmp_path: Path, model: Path) -> None:
    card, measured = resolve_model(model).card, replace(WAYS[0], measured="2026-11-21")
    keep_tuning(tmp_path / "tuning", card, "cpu", measured)
    slide = tmp_path / "phantom.tiff"
    draw_phantom(slide, size_px=PHANTOM_PX)
    request = HeatmapRequest(slide=str(slide), model=str(model), device="cpu", min_tissue=0.0)

    result = run_request(request, tmp_path / "out", tunings=tmp_path / "tuning")

    assert result.run["device"] == "cpu, float32, tuned 2026-11-21"


@pytest.mark.slow
def test_a_result_of_one_precision_is_no_answer_to_who_asks_for_another(
    tmp_path: Path, model: Path
) -> None:
    slide = tmp_path / "phantom.tiff"
    draw_phantom(slide, size_px=PHANTOM_PX)
    request = HeatmapRequest(
        slide=str(slide), model=str(model), device="cpu", precision="float32", min_tissue=0.0
    )
    made = run_request(request, tmp_path / "out")
    other = replace(request, precision="bfloat16")

    assert run_request(request, tmp_path / "out").kept
    with pytest.raises(ResultExists, match="a different result is there"):
        run_request(other, tmp_path / "out")

    again = run_request(other, tmp_path / "out", overwrite=True)
    assert "float32" in made.run["device"]
    assert "bfloat16" in again.run["device"]


def test_doctor_says_what_was_chosen_and_where_nothing_was(tmp_path: Path) -> None:
    assert "wsi doctor --tune" in describe_tunings(tmp_path, "cpu")["idc-resnet18"]

    measured = replace(WAYS[0], tiles_s=1040.0, measured="2026-11-21")
    keep_tuning(tmp_path, resolve_model("idc-resnet18").card, "cpu", measured)

    said = examine(throughput=False, device="cpu", tunings=tmp_path)["tuning"]["idc-resnet18"]
    assert said == "plain, float32, 8 tiles at once: 1,040 tiles/s, measured 2026-11-21"


def test_the_cache_is_set_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WSI_CACHE", str(tmp_path))

    assert MachineSettings().tunings == Settings().tunings == tmp_path / "tuning"


def test_the_cache_is_in_the_home_folder_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WSI_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))

    assert MachineSettings().tunings == tmp_path / ".cache/wsi/tuning"


def test_a_wrong_setting_of_the_service_does_not_stop_a_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WSI_PORT", "none")

    assert MachineSettings().tunings.name == "tuning"


def test_doctor_without_a_measurement_answers_as_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WSI_CACHE", str(tmp_path))

    answer = CliRunner().invoke(app, ["doctor", "--no-throughput", "--device", "cpu", "--json"])

    assert "--tune" in json.loads(answer.stdout)["tuning"]["idc-resnet18"]


@pytest.mark.gpu
@pytest.mark.parametrize("form", ["plain", "compiled", "graphed"])
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_gpu_scores_as_the_cpu_does(form: str, precision: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    rgb = sample_tiles("idc-resnet18")
    on_gpu = load_classifier("idc-resnet18", "cuda", tuning=Tuning(form, precision, 64))
    threshold, idc = on_gpu.card.threshold, on_gpu.card.positive_index

    cpu = load_classifier("idc-resnet18", "cpu", precision="float32").predict(rgb)[:, idc]
    gpu = on_gpu.predict(rgb)[:, idc]

    np.testing.assert_allclose(gpu, cpu, rtol=0, atol=1e-2)
    assert ((gpu >= threshold) == (cpu >= threshold)).mean() >= 0.999
