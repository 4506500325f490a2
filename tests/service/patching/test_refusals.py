"""Annotated slides that cannot be cut, or whose patches were changed."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from models.datasets import open_data
from models.errors import DatasetError
from service.errors import InvalidRequest
from service.patch_request import PatchRequest
from service.patching import cut_patches
from tests.models.annotated import (
    make_tissue,
    region_xml,
    write_drawn,
)
from tests.models.pictures import write_bach
from tests.service.patching.drawn_slides import (
    DRAWN,
    HEIGHT,
    REQUEST,
    WIDTH,
    rows_of,
    write_annotated,
)


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
