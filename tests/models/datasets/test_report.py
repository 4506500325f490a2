"""A report counts what is there and finds what is wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.datasets import open_data
from models.datasets.report import examine
from models.split import PatientRow, Split
from tests.models.pictures import (
    breakhis_names,
    make_picture,
    write_bach,
    write_flat,
    write_picture,
)


def two_sides(*test: str) -> Split:
    rows = tuple(PatientRow(patient, "test", False, 1) for patient in test)
    return Split(0, "by hand", "train", rows)


def test_counts_are_by_class_patient_part_and_size(tmp_path: Path):
    write_flat(tmp_path, breakhis_names({"14-1": "B_A", "14-2": "M_DC", "14-3": "M_PC"}))
    write_picture(tmp_path / "SOB_M_PC-14-3-100-009.png", make_picture(50, 20, 10))
    report = examine(open_data(tmp_path), two_sides("14-3"))
    assert report.by_class == {
        "benign": {"pictures": 2, "patients": 1},
        "malignant": {"pictures": 5, "patients": 2},
    }
    assert report.by_patient["14-3"] == {"benign": 0, "malignant": 3}
    assert report.by_part == {
        "train": {"pictures": 4, "patients": 2, "benign": 2, "malignant": 2},
        "test": {"pictures": 3, "patients": 1, "benign": 0, "malignant": 3},
    }
    assert report.sizes == {"20 x 10": 1, "40 x 30": 6}
    assert report.by_magnification == {"40": 6, "100": 1}
    assert report.by_subtype == {
        "adenosis": 2,
        "ductal_carcinoma": 2,
        "papillary_carcinoma": 3,
    }
    assert report.problems == ()


@pytest.mark.parametrize("split", [None, two_sides("14-3")])
def test_a_set_of_empty_folders_is_reported_as_empty(tmp_path: Path, split: Split | None):
    for name in ("cancer", "not_cancer"):
        (tmp_path / name).mkdir()
    report = examine(open_data(tmp_path), split)
    assert report.by_class == {
        "not_cancer": {"pictures": 0, "patients": 0},
        "cancer": {"pictures": 0, "patients": 0},
    }
    assert "two-folders, 0 pictures of 0 patients" in report.to_text()
    assert report.problems[-2:] == (
        "class not_cancer has no picture",
        "class cancer has no picture",
    )
    json.dumps(report.to_json())


def test_damaged_files_have_a_name_and_a_reason(tmp_path: Path):
    write_flat(tmp_path, breakhis_names({"14-1": "B_A", "14-2": "M_DC"}))
    cut, empty, gone, _ = sorted(tmp_path.glob("*.png"))
    cut.write_bytes(cut.read_bytes()[:400])
    empty.write_bytes(b"")
    pictures = open_data(tmp_path)
    gone.unlink()
    report = examine(pictures)
    assert [where for where, _ in report.damaged] == [cut.name, empty.name, gone.name]
    reasons = [reason for _, reason in report.damaged]
    assert "truncated" in reasons[0]
    assert "cannot identify" in reasons[1]
    assert reasons[2] == "there is no such file"
    assert report.pictures == 4
    assert report.sizes == {"40 x 30": 1}
    assert "3 pictures cannot be read" in report.problems[0]
    assert str(tmp_path) not in " ".join(reasons)


def test_identical_pictures_with_different_classes_are_a_problem(tmp_path: Path):
    names = breakhis_names({"14-1": "B_A", "14-2": "M_DC"}, per_patient=1)
    write_flat(tmp_path, dict.fromkeys(names, 3))
    report = examine(open_data(tmp_path), two_sides("14-2"))
    (group,) = report.identical
    assert group.classes == ("benign", "malignant")
    told = " ".join(report.problems)
    assert "1 groups of identical pictures have different classes: SOB_B_A-14-1-40-001.png" in told
    assert "1 groups of identical pictures are on two sides of the split" in told
    assert "1 groups of identical pictures are of different patients" in told
    assert report.nearly_identical == ()


def test_a_copy_within_a_patient_is_counted_but_no_problem(tmp_path: Path):
    names = breakhis_names({"14-1": "B_A", "14-2": "M_DC"})
    names["SOB_B_A-14-1-40-002.png"] = names["SOB_B_A-14-1-40-001.png"]
    report = examine(open_data(write_flat(tmp_path, names)))
    assert len(report.identical) == 1
    assert report.problems == ()
    assert "identical pictures: 1 copies in 1 groups" in report.to_text()


def test_pictures_of_other_sizes_are_not_identical(tmp_path: Path):
    for name, (width, height) in {
        "SOB_B_A-14-1-40-001.png": (40, 30),
        "SOB_B_A-14-1-40-002.png": (30, 40),
    }.items():
        write_picture(tmp_path / name, np.full((height, width, 3), 255, np.uint8))
    write_flat(tmp_path, {"SOB_M_DC-14-2-40-001.png": 5})
    assert examine(open_data(tmp_path)).identical == ()


@pytest.mark.parametrize(("label", "found"), [("M_DC", 2), ("B_F", 0)])
def test_a_copy_that_was_saved_with_loss_is_found_where_its_class_contradicts(
    tmp_path: Path, label: str, found: int
):
    rows, columns = np.mgrid[:60, :80]
    smooth = np.stack([100 + columns, 60 + rows + columns // 2, 200 - columns], -1).astype(np.uint8)
    write_picture(tmp_path / "SOB_B_A-14-1-40-001.png", smooth)
    Image.fromarray(smooth).save(tmp_path / "lossy.jpg", quality=90)
    lossy = np.asarray(Image.open(tmp_path / "lossy.jpg"))
    assert (lossy != smooth).any()
    write_picture(tmp_path / f"SOB_{label}-14-2-40-001.png", lossy)
    third = smooth.copy()
    third[0, 0] += 1  # another copy of the benign one, but for a pixel
    write_picture(tmp_path / "SOB_B_A-14-1-40-002.png", third)
    write_flat(tmp_path, {"SOB_M_PC-14-3-40-001.png": 9})
    report = examine(open_data(tmp_path))
    assert len(report.nearly_identical) == found
    assert len(report.problems) == bool(found)


def test_of_bach_the_report_says_that_patients_are_unknown(tmp_path: Path):
    write_bach(tmp_path)
    report = examine(open_data(tmp_path))
    assert not report.patients_known
    assert report.by_patient == {}
    assert "does not say" in report.notes[0]
    assert "8 pictures of unknown patients" in report.to_text()
    assert report.problems == ()


def test_an_empty_class_and_a_single_patient_are_problems(tmp_path: Path):
    write_flat(tmp_path, breakhis_names({"14-1A": "B_A", "14-1B": "B_F"}))
    assert examine(open_data(tmp_path)).problems == (
        "all pictures are of one patient; a split by patient needs two at least",
        "class malignant has no picture",
    )


def test_the_json_holds_all_of_it(tmp_path: Path):
    write_flat(tmp_path, breakhis_names({"14-1": "B_A", "14-2": "M_DC"}))
    next(tmp_path.glob("*.png")).write_bytes(b"")
    told = json.loads(json.dumps(examine(open_data(tmp_path)).to_json()))
    assert told["layout"] == "breakhis"
    assert set(told["damaged"][0]) == {"where", "reason"}
    assert told["pictures"] == 4


def test_the_real_pictures_are_whole_and_apart(real_data: Path):
    report = examine(open_data(real_data / "breakhis"))
    assert report.sizes == {"700 x 460": 26}
    assert report.damaged == report.identical == report.nearly_identical == ()
