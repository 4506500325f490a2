"""The report of an evaluation: complete, self-contained, and safe whatever a name holds."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from models.card import read_card, write_card
from models.evaluate import Assessment, assess, select_pictures
from models.evaluation.report import write_report
from models.evaluation.slides import evaluate_slides
from models.painted import painted_card
from tests.models.evaluation.test_slides import make_slide
from tests.models.labelled import make_tiles, write_published
from tests.models.pictures import write_bach

HOSTILE = "<script>alert(1)</script>"
IDC = {"classes": ("non_idc", "idc"), "positive_class": "idc"}


def write_models(folder: Path, thresholds: tuple[float, ...], **changes: object) -> list[Path]:
    paths = [folder / f"model-{i}.json" for i in range(len(thresholds))]
    for path, threshold in zip(paths, thresholds, strict=True):
        card = replace(painted_card(), name=path.stem, threshold=threshold, **(IDC | changes))
        write_card(card, path)
    return paths


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Assessment:
    folder = tmp_path_factory.mktemp("two")
    models = write_models(folder, (0.9, 0.5))
    data = write_published(make_tiles(), folder / HOSTILE.replace("/", "\\"))
    return assess(models, select_pictures(data), rounds=5)


@pytest.fixture(scope="module")
def page(two: Assessment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(two, tmp_path_factory.mktemp("report"))


def test_the_page_needs_nothing_from_elsewhere(page: Path):
    html = page.read_text("utf-8")
    sources = re.findall(r'src="([^"]*)"', html)
    assert len(sources) == 5
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "default-src 'none'" in html
    assert "href" not in html


def test_the_pictures_lie_beside_the_page(page: Path):
    assert sorted(path.name for path in page.parent.iterdir()) == [
        "confusion-1.png", "confusion-2.png", "evaluation.html", "evaluation.json",
        "precision-recall.png", "reliability.png", "roc.png",
    ]  # fmt: skip


def test_names_are_text_not_markup(page: Path):
    html = page.read_text("utf-8")
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_figures_and_differences_are_those_of_the_record(page: Path):
    html = page.read_text("utf-8")
    record = json.loads((page.parent / "evaluation.json").read_text())
    first = record["models"][0]["metrics"]["brier"]
    assert f"{first['value']:.3f} ({first['low']:.3f}–{first['high']:.3f})" in html
    gap = next(d for d in record["differences"] if d["figure"] == "balanced_accuracy")
    assert gap["interval"]["value"] < 0
    assert f"\N{MINUS SIGN}{abs(gap['interval']['value']):.3f}" in html
    assert gap["against"] == "model-0"


def test_slides_have_their_own_part(two: Assessment, tmp_path: Path):
    slides = [evaluate_slides("model-0", [make_slide()])]
    page = write_report(two, tmp_path / "report", slides)
    assert "Complete slides" in page.read_text("utf-8")
    assert {"froc.png", "slides.png"} <= {path.name for path in page.parent.iterdir()}
    assert json.loads((page.parent / "evaluation.json").read_text())["slides"][0]["model"]


def test_of_several_classes_each_has_its_curves(tmp_path: Path):
    write_bach(tmp_path / "bach", per_class=3)
    classes = ("normal", "benign", "in_situ", "invasive")
    models = write_models(
        tmp_path, (0.5,), classes=classes, positive_class="invasive", tile_px=32, mpp=0.42
    )
    found = assess(models, select_pictures(tmp_path / "bach"), rounds=5)
    page = write_report(found, tmp_path / "report")
    assert {f"roc-{name}.png" for name in ("normal", "benign", "in-situ", "invasive")} <= {
        path.name for path in page.parent.iterdir()
    }
    assert "intervals over 5 resamples of the pictures" in page.read_text("utf-8")


def test_other_files_of_the_folder_are_left_alone(two: Assessment, tmp_path: Path):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "notes.txt").write_text("mine")
    (tmp_path / "report" / "roc.png").write_text("an older one")
    write_report(two, tmp_path / "report")
    assert (tmp_path / "report" / "notes.txt").read_text() == "mine"
    assert (tmp_path / "report" / "roc.png").read_bytes().startswith(b"\x89PNG")
    assert not list((tmp_path / "report").glob("*.partial"))


def test_a_model_whose_card_tells_its_training_has_its_curves_in_the_report(tmp_path: Path):
    (model,) = write_models(tmp_path, (0.5,))
    history = {"loss": [0.9, 0.5], "validation AUC": [None, 0.8]}
    write_card(replace(read_card(model), metrics={"training": {"history": history}}), model)
    data = write_published(make_tiles(), tmp_path / "data")

    page = write_report(assess([model], select_pictures(data), rounds=5), tmp_path / "report")

    drawn = (tmp_path / "report" / "training.png").read_bytes()
    assert drawn.startswith(b"\x89PNG")
    assert "Training: model-0" in page.read_text("utf-8")
