"""Annotated slides to labelled patches: every pixel and label against other programs."""

import csv
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
import torch
from PIL import Image
from skimage.draw import polygon2mask
from typer.testing import CliRunner

from models.card import read_card
from models.datasets import open_data
from models.datasets.report import examine
from models.errors import DatasetError
from models.recipe import RECIPES, read_recipe, shrunk
from models.train import train
from models.training.parallel import Processes
from models.training.parts import read_parts
from service.cli import app
from service.cli.datasets import patches as patches_command
from service.errors import InvalidRequest, Stopped
from service.patch_request import PatchRequest
from service.patching import cut_patches
from service.progress import Silent
from tests.models.annotated import (
    Outline,
    make_tissue,
    rectangle,
    region_xml,
    write_drawn,
    write_slide,
)
from tests.models.pictures import write_bach
from tests.models.training_runs import registered
from wsi.errors import (
    ResultExists,
    StoreIncomplete,
    StoreMismatch,
)
from wsi.store.folder import partial_path
from wsi.store.journal import FolderLock

PX = 64
REQUEST = PatchRequest(patch_px=PX, mask="none", min_tissue=0)
WIDTH, HEIGHT = 640, 448  # 10 x 7 patches
DRAWN = {
    "Benign": rectangle(0, 0, 200, 128),
    "Carcinoma in situ": [(300, 20), (560, 40), (520, 230), (330, 200)],
    "Carcinoma invasive": [(40, 220), (230, 200), (250, 420), (20, 430)],
}
FOLDER = {"Benign": "Benign", "Carcinoma in situ": "InSitu", "Carcinoma invasive": "Invasive"}


def write_annotated(folder: Path, name: str = "A01", *, seed: int = 1, **options: Any) -> Path:
    folder.mkdir(exist_ok=True)
    glass_from = options.pop("glass_from", None)
    write_slide(folder / f"{name}.svs", make_tissue(WIDTH, HEIGHT, seed, glass_from), **options)
    regions = [region_xml(outline, label) for label, outline in DRAWN.items()]
    write_drawn(folder / f"{name}.xml", regions)
    return folder


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two annotated slides, and one that nobody drew on."""
    folder = tmp_path_factory.mktemp("bach") / "WSI"
    write_annotated(folder, "A01", seed=1)
    write_annotated(folder, "A02", seed=2)
    write_slide(folder / "01.svs", make_tissue(256, 256))
    return folder


@pytest.fixture
def copied(slides: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(slides, tmp_path / "WSI"))


@pytest.fixture(scope="module")
def cut(slides: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("cut") / "patches"
    return out, cut_patches(slides, out, REQUEST)


def rows_of(out: Path) -> Iterator[dict[str, str]]:
    for table in sorted((out / "Photos").glob("*.csv")):
        with table.open(newline="") as file:
            yield from csv.DictReader(file)


def read_rgb(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def painted_parts(outline: Outline) -> np.ndarray:
    """Of each patch of the grid, painted by scikit-image: (7, 10); a pixel has 3 x 3 samples."""
    corners = np.array(outline, np.float64)[:, ::-1] * 3 - 0.5  # samples lie in cells' centres
    painted = polygon2mask((HEIGHT * 3, WIDTH * 3), corners)
    return painted.reshape(HEIGHT // PX, PX * 3, WIDTH // PX, PX * 3).mean((1, 3))


def content_of(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_every_patch_has_the_pixels_that_openslide_reads_there(cut: tuple[Path, Any], slides: Path):
    out, _ = cut
    rows = list(rows_of(out))
    for row in rows:
        with openslide.OpenSlide(slides / f"{row['slide']}.svs") as slide:
            place = int(row["x0"]), int(row["y0"])
            expected = np.asarray(slide.read_region(place, 0, (PX, PX)).convert("RGB"))
        found = read_rgb(out / "Photos" / row["folder"] / row["file"])
        np.testing.assert_array_equal(found, expected)
    assert {row["slide"] for row in rows} == {"A01", "A02"}


def test_every_patch_of_the_grid_has_the_label_that_its_painted_area_gives(
    cut: tuple[Path, dict[str, Any]],
):
    out, facts = cut
    listed = {
        (int(row["x0"]), int(row["y0"])): row["folder"]
        for row in rows_of(out)
        if row["slide"] == "A01"
    }
    parts = {FOLDER[label]: painted_parts(outline) for label, outline in DRAWN.items()}
    assert all(np.abs(part - 0.75).min() > 0.005 for part in parts.values())  # none is a near thing
    between = 0
    for row, column in np.ndindex(HEIGHT // PX, WIDTH // PX):
        won = [folder for folder, part in parts.items() if part[row, column] > 0.75]
        is_normal = not any(part[row, column] for part in parts.values())
        expected = won[0] if won else "Normal" if is_normal else None
        assert listed.get((column * PX, row * PX)) == expected
        between += expected is None
    assert facts["slides"]["A01"]["between"] == between
    assert len(listed) + between == 70
    assert set(listed.values()) == {"Normal", "Benign", "InSitu", "Invasive"}


def test_the_counts_are_those_of_the_files(cut: tuple[Path, dict[str, Any]]):
    out, facts = cut
    files = {
        name: len(list((out / "Photos" / folder).glob("*.png")))
        for name, folder in zip(
            facts["patches"], ("Normal", "Benign", "InSitu", "Invasive"), strict=True
        )
    }
    assert facts["patches"] == files
    assert sum(files.values()) == len(list(rows_of(out)))
    assert facts["without_annotations"] == ["01"]
    assert (facts["kept"], facts["warnings"]) == (False, [])


def test_what_was_cut_is_read_as_bach_with_the_slide_as_the_patient(cut: tuple[Path, Any]):
    out, _ = cut
    pictures = open_data(out)
    assert (pictures.layout, pictures.patients_known) == ("bach", True)
    assert pictures.patients == ["A01", "A02"]
    item = next(item for item in pictures.items if item.path.name == "A02_64_0.png")
    assert (item.xy, item.mpp, item.slide) == ((64, 0), 0.42, "A02")
    assert pictures.classes[item.label] == "benign"
    report = examine(pictures)
    assert (report.problems, report.damaged, report.notes) == ((), (), ())
    assert list(report.sizes) == ["64 x 64"]


def test_a_patch_carries_its_resolution_for_other_programs(cut: tuple[Path, Any]):
    out, _ = cut
    with Image.open(next((out / "Photos" / "Benign").glob("*.png"))) as picture:
        assert 25_400 / picture.info["dpi"][0] == pytest.approx(0.42, rel=1e-5)


def test_at_half_the_resolution_pixels_are_averages(slides: Path, tmp_path: Path):
    cut_patches(slides, tmp_path / "out", replace(REQUEST, mpp=0.84, patch_px=32))
    row = next(row for row in rows_of(tmp_path / "out") if row["x0"] == "128")
    with openslide.OpenSlide(slides / f"{row['slide']}.svs") as slide:
        place = int(row["x0"]), int(row["y0"])
        fine = np.asarray(slide.read_region(place, 0, (64, 64)).convert("RGB"), np.float64)
    expected = fine.reshape(32, 2, 32, 2, 3).mean((1, 3))
    found = read_rgb(tmp_path / "out" / "Photos" / row["folder"] / row["file"])
    assert np.abs(found - expected).max() <= 0.5
    assert {row["mpp"] for row in rows_of(tmp_path / "out")} == {"0.84"}


def test_glass_is_not_cut(tmp_path: Path):
    folder = write_annotated(tmp_path / "WSI", glass_from=400, mpp=2.0)
    drawn = folder / "A01.xml"
    drawn.write_text(drawn.read_text().replace("0.420000", "2.0"))
    request = PatchRequest(mpp=2.0, patch_px=PX)
    cut_patches(folder, tmp_path / "out", request)
    columns = {int(row["x0"]) for row in rows_of(tmp_path / "out")}
    assert columns == {0, 64, 128, 192, 256, 320}  # of the one from 384 on a quarter is tissue


def test_a_stopped_run_goes_on_and_ends_in_the_same_bytes(
    cut: tuple[Path, Any], slides: Path, tmp_path: Path
):
    out = tmp_path / "patches"

    class StoppedInTheSecond(Silent):
        stages: tuple[str, ...] = ()

        def start(self, stage: str, total: int) -> None:
            self.stages += (stage,)

        def should_stop(self) -> bool:
            return "A02" in self.stages

    with pytest.raises(Stopped):
        cut_patches(slides, out, REQUEST, progress=StoppedInTheSecond())
    assert not out.exists()
    assert list(json.loads((partial_path(out) / "patches.json").read_text())["slides"]) == ["A01"]
    first = partial_path(out) / "Photos" / "Benign" / "A01_0_0.png"
    stamp = first.stat().st_mtime_ns

    assert cut_patches(slides, out, REQUEST)["kept"] is False
    assert not partial_path(out).exists()
    assert (out / first.relative_to(partial_path(out))).stat().st_mtime_ns == stamp
    assert content_of(out) == content_of(cut[0])


def test_an_equal_result_is_kept_and_another_is_not_written_over(copied: Path, tmp_path: Path):
    out = tmp_path / "out"
    cut_patches(copied, out, REQUEST)
    before = content_of(out)
    assert cut_patches(copied, out, REQUEST)["kept"] is True
    write_drawn(copied / "A02.xml", [region_xml(DRAWN["Benign"], "Benign")])
    with pytest.raises(ResultExists, match="out was not cut from these slides"):
        cut_patches(copied, out, REQUEST)
    assert content_of(out) == before
    facts = cut_patches(copied, out, REQUEST, overwrite=True)
    assert facts["slides"]["A02"]["invasive"] == 0 < facts["slides"]["A01"]["invasive"]


def test_what_was_begun_with_other_options_is_not_gone_on_with(
    slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("service.patching.BATCH_BYTES", 10 * 3 * PX**2)
    out = tmp_path / "out"

    class StoppedInTheFirst(Silent):
        steps = 0

        def advance(self, done: int) -> None:
            self.steps += 1

        def should_stop(self) -> bool:
            return self.steps > 2  # two slides are hashed, ten patches are written

    with pytest.raises(Stopped):
        cut_patches(slides, out, REQUEST, progress=StoppedInTheFirst())
    assert len(list(partial_path(out).rglob("*.png"))) == 10
    other = replace(REQUEST, patch_px=128)
    with pytest.raises(StoreMismatch, match="begun with other slides, annotations or options"):
        cut_patches(slides, out, other)
    cut_patches(slides, out, other, overwrite=True)
    assert {read_rgb(item.path).shape for item in open_data(out).items} == {(128, 128, 3)}


def test_two_at_the_same_time_are_refused(slides: Path, tmp_path: Path):
    out = tmp_path / "out"
    with FolderLock(partial_path(out)), pytest.raises(StoreIncomplete, match="another process"):
        cut_patches(slides, out, REQUEST)


@pytest.mark.parametrize("inside", ["ICIAR2018_BACH_Challenge/WSI", "WSI", "."])
def test_the_slides_are_found_in_the_tree_as_downloaded(tmp_path: Path, inside: str):
    (tmp_path / inside).mkdir(parents=True, exist_ok=True)
    write_annotated(tmp_path / inside)
    assert cut_patches(tmp_path, tmp_path / "out", REQUEST)["patches"]["benign"] > 0


def spoil(folder: Path, file: str, change: str) -> None:
    path = folder / file
    if change == "delete":
        path.unlink()
    elif change.startswith("copy to "):
        shutil.copy(path, folder / change.removeprefix("copy to "))
    else:
        old, new = change.split(" -> ")
        path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("A02.svs", "delete", r"A02\.xml: no slide of that name beside it"),
        ("A02.svs", "copy to A02.tif", r"A02\.xml: A02\.svs, A02\.tif of that name beside it"),
        ("A02.xml", "Carcinoma invasive -> Karzinom", r"A02\.xml: region 1 .* says 'Karzinom'"),
        ("A02.xml", '="560" -> ="6400"', r"A02\.xml.* off the slide of 640 x 448 px"),
        ("A02.xml", "0.420000 -> 0.25", "drawn at 0.25 um/px, but A02.svs has 0.42"),
        ("A02.xml", "Annotations -> Notes", "no file of ImageScope"),
    ],
)
def test_nothing_is_cut_where_one_slide_is_not_sound(
    copied: Path, tmp_path: Path, file: str, change: str, said: str
):
    spoil(copied, file, change)
    with pytest.raises(DatasetError, match=said) as refused:
        cut_patches(copied, tmp_path / "out", REQUEST)
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.glob("out*"))


def test_all_that_is_wrong_is_said_at_once(copied: Path, tmp_path: Path):
    for name in ("A01", "A02"):
        spoil(copied, f"{name}.xml", "Benign -> Bening")
    with pytest.raises(DatasetError, match=r"A01\.xml: [^\n]*'Bening'[^\n]*\n.*A02\.xml: .*"):
        cut_patches(copied, tmp_path / "out", REQUEST)


def test_a_damaged_slide_is_named_before_any_is_cut(copied: Path, tmp_path: Path):
    (copied / "A02.svs").write_bytes(b"no slide")
    with pytest.raises(DatasetError, match=r"A02\.svs"):
        cut_patches(copied, tmp_path / "out", REQUEST)


def test_a_slide_without_a_resolution_wants_one(tmp_path: Path):
    folder = write_annotated(tmp_path / "WSI")
    rgb = make_tissue(WIDTH, HEIGHT)
    (folder / "A01.svs").unlink()
    Image.fromarray(rgb).save(folder / "A01.tif")
    with pytest.raises(DatasetError, match=r"\(A01\.xml says 0\.42\).*--slide-mpp 0\.42"):
        cut_patches(folder, tmp_path / "out", REQUEST)
    cut_patches(folder, tmp_path / "out", replace(REQUEST, slide_mpp=0.42))
    assert open_data(tmp_path / "out").patients == ["A01"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"coverage": 0.5}, "coverage 0.5: use more than 0.5"),
        ({"coverage": 1.1}, "coverage 1.1"),
        ({"min_tissue": -0.1}, "least tissue fraction -0.1"),
        ({"mask": "a.png"}, "mask 'a.png': use saturation, lab, none"),
    ],
)
def test_options_outside_their_range_are_refused(changes: dict[str, Any], said: str):
    with pytest.raises(InvalidRequest, match=said):
        PatchRequest(**changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"patch_px": 2}, "tile size 2 px"), ({"mpp": 0.2}, "level 0 has 0.42 um/px")],
)
def test_a_grid_that_cannot_be_is_refused_before_any_slide_is_cut(
    slides: Path, tmp_path: Path, changes: dict[str, Any], said: str
):
    with pytest.raises(DatasetError, match=said):
        cut_patches(slides, tmp_path / "out", replace(REQUEST, **changes))
    assert not list(tmp_path.glob("out*"))


def test_a_folder_without_annotations_says_what_belongs_there(tmp_path: Path):
    with pytest.raises(DatasetError, match=r"no annotations; put A01\.xml beside A01\.svs"):
        cut_patches(tmp_path, tmp_path / "out", REQUEST)
    with pytest.raises(DatasetError, match="is not a folder"):
        cut_patches(tmp_path / "nowhere", tmp_path / "out", REQUEST)


def test_a_class_that_no_patch_has_is_told(tmp_path: Path):
    folder = write_annotated(tmp_path / "WSI")
    write_drawn(folder / "A01.xml", [region_xml(DRAWN["Benign"], "Benign")])
    facts = cut_patches(folder, tmp_path / "out", REQUEST)
    assert facts["warnings"] == ["no patch is of class in_situ, invasive: recipes need every class"]


def test_mended_outlines_are_told(tmp_path: Path):
    folder = write_annotated(tmp_path / "WSI")
    crossing = [(0, 0), (256, 256), (256, 0), (0, 256)]
    write_drawn(folder / "A01.xml", [region_xml(crossing, "Benign")])
    with pytest.raises(DatasetError, match=r"no simple outline .* take --mend"):
        cut_patches(folder, tmp_path / "out", REQUEST)
    facts = cut_patches(folder, tmp_path / "out", replace(REQUEST, mend=True))
    assert "1 outlines crossed themselves or left the slide, and were mended" in facts["warnings"]
    found = {(int(row["x0"]), int(row["y0"])) for row in rows_of(tmp_path / "out")
             if row["folder"] == "Benign"}  # fmt: skip
    assert found == {(0, 64), (0, 128), (192, 64), (192, 128)}  # whole in the two triangles


def test_a_patch_that_no_table_lists_is_refused(copied: Path, tmp_path: Path):
    out = tmp_path / "out"
    cut_patches(copied, out, REQUEST)
    (out / "Photos" / "A02.patches.csv").unlink()
    with pytest.raises(DatasetError, match=r"patches\.csv does not list Normal/A02_"):
        open_data(out)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (",Benign,", ",Bening,", "has the class 'Bening'; use Normal"),
        (",Benign,", ",Normal,", "lies in the folder Benign, but .* calls it Normal"),
        ("A01_0_0.png", "A01_9_9.png", r"does not list Benign/A01_0_0\.png"),
        (",0.42", ",fine", "is no table of patches"),
        ("file,folder", "a,b", "is no table of patches"),
    ],
)
def test_a_table_that_contradicts_the_patches_is_refused(
    cut: tuple[Path, Any], tmp_path: Path, old: str, new: str, said: str
):
    out = Path(shutil.copytree(cut[0], tmp_path / "out"))
    table = out / "Photos" / "A01.patches.csv"
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(DatasetError, match=said):
        open_data(out)


def test_beside_the_challenges_pictures_patients_are_not_known(
    cut: tuple[Path, Any], tmp_path: Path
):
    photos = write_bach(tmp_path)
    shutil.copytree(cut[0] / "Photos", photos, dirs_exist_ok=True)
    pictures = open_data(tmp_path)
    assert len(pictures) == 8 + len(open_data(cut[0]))
    assert not pictures.patients_known
    assert {"A01", "A02", "b001", "n002"} <= set(pictures.patients)


def run(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_the_command_has_the_defaults_of_the_request():
    options = signature(patches_command).parameters
    assert {name: options[name].default for name in asdict(PatchRequest())} == asdict(
        PatchRequest()
    )


def test_the_command_tells_the_counts_to_people_and_to_machines(slides: Path, tmp_path: Path):
    words = ("data", "patches", slides, tmp_path / "out", "--patch-px", PX, "--mask", "none")
    code, text = run(*words)
    assert code == 0
    assert "A01: " in text
    assert "without annotations, left out: 01" in text
    told = json.loads(run(*words, "--json")[1])
    assert told["kept"] is True
    assert told["slides"]["A01"] == told["slides"]["A02"]


BACH_RECIPES = sorted(path.stem for path in RECIPES.glob("bach-*.toml"))


@pytest.mark.parametrize("name", BACH_RECIPES)
def test_every_recipe_for_bach_is_for_the_classes_of_patches(cut: tuple[Path, Any], name: str):
    assert read_recipe(name).classes == open_data(cut[0]).classes


@pytest.mark.slow
def test_a_recipe_trains_on_patches_with_no_slide_on_two_sides(tmp_path: Path):
    for seed in range(1, 6):
        name = f"A{seed:02d}"
        write_slide(tmp_path / f"{name}.svs", make_tissue(2048, 1024, seed))
        spots = zip(DRAWN, (0, 512, 1024), strict=True)
        regions = [region_xml(rectangle(x0, 0, 512, 512), label) for label, x0 in spots]
        write_drawn(tmp_path / f"{name}.xml", regions)
    out = tmp_path / "patches"
    code, _ = run("data", "patches", tmp_path, out, "--quiet")
    assert code == 0
    with registered():
        recipe = shrunk(read_recipe("bach-resnet50", {"architecture": "tiny", "start": "random"}))
        recipe = replace(recipe, data=replace(recipe.data, split="drawn", tolerance=1.0))
        parts = read_parts(recipe, out, tmp_path / "stores", Processes(torch.device("cpu")))
        card = read_card(train(recipe, out, tmp_path / "run", device="cpu"))

    assert not set(parts.training.patients) & set(parts.validation.patients)
    assert parts.split.startswith("By patient;")
    tiles = parts.training.batch(np.arange(2))
    assert tiles.shape == (2, 256, 256, 3)  # a patch is one tile of the recipe
    assert card.classes == ("normal", "benign", "in_situ", "invasive")
    assert card.metrics["training"]["patients"] == len(parts.training.patients)
