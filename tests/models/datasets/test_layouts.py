"""What each layout says of its pictures, and what it refuses."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from models.datasets import open_data, require_trainable
from models.errors import DatasetError
from tests.models.labelled import make_tiles, write_packed, write_published
from tests.models.pictures import (
    breakhis_names,
    make_picture,
    write_bach,
    write_flat,
    write_picture,
)


def write_two_folders(root: Path, cancer: str = "7_idx5_x1_y51_class1.png") -> Path:
    write_picture(root / "not_cancer" / "8_idx5_x101_y1_class0.png", make_picture(1, 50, 50))
    write_picture(root / "cancer" / cancer, make_picture(2, 50, 50))
    return root


def test_two_folders_give_the_patient_of_the_name_and_the_class_of_the_folder(tmp_path: Path):
    pictures = open_data(write_two_folders(tmp_path))
    assert pictures.layout == "two-folders"
    assert [pictures.classes[label] for label in pictures.label] == ["cancer", "not_cancer"]
    assert pictures.patient.tolist() == ["7", "8"]
    assert [item.xy for item in pictures.items] == [(1, 51), (101, 1)]


def test_a_file_in_the_folder_of_the_other_class_is_refused(tmp_path: Path):
    write_two_folders(tmp_path, cancer="7_idx5_x1_y51_class0.png")
    with pytest.raises(DatasetError, match="other class in their name: 7_idx5_x1_y51_class0"):
        open_data(tmp_path)


def test_a_name_without_a_patient_is_refused(tmp_path: Path):
    write_two_folders(tmp_path, cancer="holiday.png")
    with pytest.raises(DatasetError, match=r"have no IDC name.*holiday"):
        open_data(tmp_path)


def test_an_empty_class_cannot_be_trained_on(tmp_path: Path):
    next((write_two_folders(tmp_path) / "cancer").glob("*.png")).unlink()
    write_picture(tmp_path / "not_cancer" / "9_idx5_x1_y1_class0.png", make_picture(3, 50, 50))
    pictures = open_data(tmp_path)
    with pytest.raises(DatasetError, match=r"none of the 2 tiles is of class 1 \(cancer\)"):
        require_trainable(pictures, pictures.classes)


@pytest.mark.parametrize(
    "inside", ["", "ICIAR2018_BACH_Challenge", "ICIAR2018_BACH_Challenge/Photos"]
)
def test_bach_is_found_from_each_folder_of_its_tree(tmp_path: Path, inside: str):
    write_bach(tmp_path)
    pictures = open_data(tmp_path / inside)
    assert pictures.layout == "bach"
    assert pictures.classes == ("normal", "benign", "in_situ", "invasive")
    assert pictures.label.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert {item.mpp for item in pictures.items} == {0.42}


def test_of_bach_each_picture_is_its_own_patient_and_that_is_said(tmp_path: Path):
    write_bach(tmp_path, per_class=1)
    pictures = open_data(tmp_path)
    assert pictures.patients == ["b001", "is001", "iv001", "n001"]
    assert not pictures.patients_known


def test_a_table_with_a_title_is_read_as_one_without(tmp_path: Path):
    table = write_bach(tmp_path) / "microscopy_ground_truth.csv"
    table.write_text("\ufefffile,class\n" + table.read_text())
    assert len(open_data(tmp_path)) == 8


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("b001.tif,Benign", "b001.tif,Bening", r"b001\.tif has the class 'Bening'; use Normal"),
        ("b001.tif,Benign", "b001.tif", r"b001\.tif has the class ''"),
        ("b001.tif,Benign\n", "", r"does not list Benign/b001\.tif"),
        ("b001.tif,Benign", "b001.tif,Normal", "in the folder Benign, but .* calls it Normal"),
        ("b001.tif", "b001.tif,Benign\nb099.tif", r"1 pictures that .* lists are not there: b099"),
    ],
)
def test_a_table_that_contradicts_the_pictures_is_refused(
    tmp_path: Path, old: str, new: str, said: str
):
    table = write_bach(tmp_path) / "microscopy_ground_truth.csv"
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(DatasetError, match=said):
        open_data(tmp_path)


def test_bach_without_its_table_is_refused(tmp_path: Path):
    (write_bach(tmp_path) / "microscopy_ground_truth.csv").unlink()
    with pytest.raises(DatasetError, match=r"ground_truth\.csv is missing; copy it"):
        open_data(tmp_path)


def test_a_breakhis_name_says_everything(tmp_path: Path):
    write_flat(tmp_path, {"SOB_M_DC-14-22549AB-400-007.png": 0})
    (item,) = open_data(tmp_path).items
    assert (item.label, item.subtype, item.magnification, item.mpp) == (
        1,
        "ductal_carcinoma",
        400,
        0.05,
    )
    assert item.slide == "14-22549AB"


def test_blocks_and_types_of_one_case_are_one_patient(tmp_path: Path):
    names = breakhis_names({"14-22549AB": "B_A", "14-22549CD": "B_A", "14-13412": "M_DC"}, 1)
    write_flat(tmp_path, names | {"SOB_M_LC-14-13412-40-001.png": 9})
    assert open_data(tmp_path).patients == ["14-13412", "14-22549"]


def test_the_tree_and_the_flat_folder_hold_the_same_pictures(tmp_path: Path):
    names = breakhis_names({"14-1": "B_A", "14-2": "M_PC"})
    flat = open_data(write_flat(tmp_path / "flat", names))
    for name, seed in names.items():
        side, kind = ("benign", "adenosis") if "_B_" in name else ("malignant", "papillary")
        below = f"BreaKHis_v1/histology_slides/breast/{side}/SOB/{kind}/slide/40X"
        write_picture(tmp_path / "tree" / below / name, make_picture(seed))
    tree = open_data(tmp_path / "tree")
    for one in (flat, tree):
        assert sorted((i.path.name, i.label, i.patient) for i in one.items) == sorted(
            (i.path.name, i.label, i.patient) for i in flat.items
        )
    assert len(tree) == 4


def test_subtypes_are_classes_where_asked(tmp_path: Path):
    write_flat(tmp_path, breakhis_names({"14-1": "B_TA", "14-2": "M_MC"}, 1))
    pictures = open_data(tmp_path, subtypes=True)
    assert len(pictures.classes) == 8
    assert [pictures.classes[label] for label in pictures.label] == [
        "tubular_adenoma",
        "mucinous_carcinoma",
    ]


def test_a_layout_without_subtypes_says_so(tmp_path: Path):
    with pytest.raises(DatasetError, match="'two-folders' has no subtypes; use breakhis"):
        open_data(write_two_folders(tmp_path), subtypes=True)


def test_a_magnification_that_is_not_there_names_those_that_are(tmp_path: Path):
    names = breakhis_names({"14-1": "B_A"}) | breakhis_names({"14-1": "B_A"}, magnification=200)
    write_flat(tmp_path, names)
    assert len(open_data(tmp_path, magnification=200)) == 2
    with pytest.raises(DatasetError, match="magnification 400; there is 40, 200"):
        open_data(tmp_path, magnification=400)


def test_a_breakhis_name_of_an_unknown_type_is_refused(tmp_path: Path):
    write_flat(tmp_path, {"SOB_M_XX-14-1-40-001.png": 0})
    with pytest.raises(DatasetError, match=r"1 names in .* SOB_M_XX"):
        open_data(tmp_path)


def test_a_folder_of_no_layout_names_them_all(tmp_path: Path):
    with pytest.raises(DatasetError, match=r"tiles\.csv.*cancer/.*Photos/.*SOB_"):
        open_data(tmp_path)


def test_an_unknown_layout_names_those_there_are(tmp_path: Path):
    with pytest.raises(DatasetError, match="no layout 'camelyon'; use idc, two-folders, bach"):
        open_data(tmp_path, "camelyon")


@pytest.mark.parametrize("write", [write_published, write_packed])
def test_idc_is_found_in_both_of_its_forms(tmp_path: Path, write: object):
    write(make_tiles(), tmp_path)  # type: ignore[operator]
    pictures = open_data(tmp_path)
    assert (pictures.layout, len(pictures), pictures.patients) == ("idc", 32, ["1", "2", "3", "4"])


def test_the_26_real_pictures_are_of_17_cases(real_data: Path):
    pictures = open_data(real_data / "breakhis")
    assert len(pictures) == 26
    assert len(pictures.patients) == 17
    assert sorted({item.magnification for item in pictures.items}) == [40, 100, 200, 400]
    assert pictures.label.tolist().count(0) == 14


def test_what_the_shared_script_unpacks_is_what_the_sheets_hold(real_data: Path, tmp_path: Path):
    patient = "10255"
    script = [sys.executable, str(real_data / "idc" / "unpack.py"), str(tmp_path), patient]
    subprocess.run(script, check=True, capture_output=True)
    published = open_data(tmp_path)
    packed = open_data(real_data / "idc").of_patients([patient])
    assert sorted((i.xy, i.label) for i in published.items) == sorted(
        (i.xy, i.label) for i in packed.items
    )
    shutil.rmtree(tmp_path / patient)
