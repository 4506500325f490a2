"""A split that leaks is refused, and one that is drawn does not leak."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from models.datasets import Pictures, open_data
from models.datasets.digests import with_digests
from models.datasets.stratification import draw_folds, draw_stratified
from models.errors import DatasetError
from models.split import PARTS, Split, read_split, require_apart, write_split
from tests.models.labelled import make_tiles, write_published
from tests.models.pictures import breakhis_names, write_bach, write_flat


def many_patients(folder: Path, copies: dict[str, int] | None = None) -> Pictures:
    """Forty benign and twenty malignant patients with two pictures each. copies: name to seed."""
    patients = {f"14-{i}": "B_A" if i < 40 else "M_DC" for i in range(60)}
    return open_data(write_flat(folder, breakhis_names(patients) | (copies or {})))


def parts(pictures: Pictures, **of_patient: str) -> np.ndarray:
    return np.array([of_patient.get(patient, "train") for patient in pictures.patient.tolist()])


def test_a_patient_on_two_sides_is_refused(tmp_path: Path):
    pictures = open_data(write_flat(tmp_path, breakhis_names({"14-1": "B_A", "14-2": "M_DC"})))
    by_picture = np.array(["train", "test", "train", "train"])
    with pytest.raises(DatasetError, match=r"one is 14-1 \(pictures: 1 in test, 1 in train\)"):
        require_apart(pictures, by_picture)


def test_identical_pictures_on_two_sides_are_refused(tmp_path: Path):
    names = breakhis_names({"14-1": "B_A", "14-2": "M_DC"}, per_patient=1)
    pictures = open_data(write_flat(tmp_path, dict.fromkeys(names, 7)))
    of_each = np.array(["test", "train"])
    with pytest.raises(
        DatasetError, match=r"14-1-40-001\.png \(test\) and .*14-2-40-001\.png \(train\) have ident"
    ):
        require_apart(pictures, of_each)


def test_identical_pictures_on_one_side_are_no_leak(tmp_path: Path):
    names = breakhis_names({"14-1": "B_A", "14-2": "M_DC"}, per_patient=1)
    pictures = open_data(write_flat(tmp_path, dict.fromkeys(names, 7)))
    require_apart(pictures, np.array(["train", "train"]))


def test_what_a_split_leaves_out_cannot_leak(tmp_path: Path):
    pictures = open_data(write_flat(tmp_path, breakhis_names({"14-1": "B_A", "14-2": "M_DC"})))
    require_apart(pictures, np.array(["train", "none", "test", "test"]))


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path):
    names = breakhis_names({"14-1": "B_A", "14-2": "M_DC"})
    pictures = open_data(write_flat(tmp_path, names))
    pictures.items[0].path.write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"1 of 4 tiles .* cannot be read: SOB_B_A-14-1-40-001"):
        require_apart(pictures, np.full(4, "train"))


@pytest.mark.parametrize("seed", range(3))
def test_each_part_gets_its_share_of_each_class(tmp_path: Path, seed: int):
    pictures = many_patients(tmp_path)
    split = draw_stratified(pictures, seed)
    require_apart(pictures, split)
    shares = (0.65, 0.15, 0.20)
    for label, of_class in ((0, 80), (1, 40)):
        for part, share in zip(PARTS, shares, strict=True):
            mine = split.take(pictures, part)
            assert abs((mine.label == label).sum() - share * of_class) <= 2


def test_the_same_seed_draws_the_same_split_and_another_one_does_not(tmp_path: Path):
    pictures = many_patients(tmp_path)
    assert draw_stratified(pictures, 1) == draw_stratified(pictures, 1)
    one, other = (draw_stratified(pictures, seed).patients("test") for seed in (1, 2))
    assert one != other


def test_patients_that_share_a_picture_stay_together(tmp_path: Path):
    copies = {f"SOB_B_A-14-{i}-40-009.png": 999 for i in range(30)}
    pictures = with_digests(many_patients(tmp_path, copies))
    split = draw_stratified(pictures, 0, tolerance=0.5)
    require_apart(pictures, split)
    assert len({split.part_of(f"14-{i}") for i in range(30)}) == 1


def test_each_patient_is_tested_in_one_fold(tmp_path: Path):
    pictures = many_patients(tmp_path)
    folds = draw_folds(pictures, 5, seed=0)
    tested = [patient for fold in folds for patient in fold.patients("test")]
    assert sorted(tested) == pictures.patients
    for fold, following in pairwise(folds):
        require_apart(pictures, fold)
        assert fold.patients("validation") == following.patients("test")
        assert len(fold.patients("train")) == 36


def test_shares_that_cannot_be_met_say_by_how_much(tmp_path: Path):
    patients = {f"14-{i}": "B_A" for i in range(6)} | {f"14-{i}": "M_DC" for i in range(6, 9)}
    pictures = open_data(write_flat(tmp_path, breakhis_names(patients, per_patient=1)))
    with pytest.raises(DatasetError, match=r"differ by 0\.\d+ from the set's, allowed is 0\.01"):
        draw_stratified(pictures, 0, tolerance=0.01)
    assert len(draw_stratified(pictures, 0, tolerance=0.5).patients("train")) in (4, 5, 6)


def test_three_patients_of_a_class_are_one_a_part(tmp_path: Path):
    patients = {f"14-{i}": "B_A" for i in range(20)} | {f"14-{i}": "M_DC" for i in range(20, 23)}
    pictures = open_data(write_flat(tmp_path, breakhis_names(patients)))
    split = draw_stratified(pictures, 0, tolerance=0.3)
    assert sorted(split.part_of(f"14-{i}") for i in range(20, 23)) == sorted(PARTS)


def test_a_class_of_too_few_patients_is_named(tmp_path: Path):
    patients = {f"14-{i}": "B_A" for i in range(8)} | {"14-8": "M_DC"}
    pictures = open_data(write_flat(tmp_path, breakhis_names(patients)))
    with pytest.raises(DatasetError, match="class malignant is of 1 patients"):
        draw_stratified(pictures, 0)
    split = draw_stratified(pictures, 0, tolerance=1)
    assert split.part_of("14-8") == "train"


def test_an_empty_class_cannot_be_split(tmp_path: Path):
    pictures = open_data(write_flat(tmp_path, breakhis_names({"14-1": "B_A", "14-2": "B_F"})))
    with pytest.raises(DatasetError, match="no picture of class malignant"):
        draw_stratified(pictures, 0)


def test_one_patient_cannot_be_split(tmp_path: Path):
    pictures = open_data(write_flat(tmp_path, breakhis_names({"14-1A": "B_A", "14-1B": "M_DC"})))
    with pytest.raises(DatasetError, match="1 patients cannot be dealt to 3 parts"):
        draw_stratified(pictures, 0)


def test_a_split_of_bach_says_that_it_is_by_picture(tmp_path: Path):
    write_bach(tmp_path, per_class=12)
    split = draw_stratified(open_data(tmp_path), 0)
    assert split.method.startswith("By picture, since the set does not say of which patient")
    assert not split.patients_known


@pytest.mark.parametrize("write", [write_bach, many_patients])
def test_a_drawn_split_comes_back_from_its_file(tmp_path: Path, write: object):
    if write is write_bach:
        write_bach(tmp_path / "data", per_class=12)
    else:
        many_patients(tmp_path / "data")
    split = draw_stratified(open_data(tmp_path / "data"), 0)
    write_split(split, tmp_path / "split.json")
    assert read_split(tmp_path / "split.json") == split


def test_a_patient_that_came_later_is_in_no_part(tmp_path: Path):
    split: Split = draw_stratified(many_patients(tmp_path), 0)
    assert split.part_of("15-1") == "none"


def test_the_project_split_of_the_real_tiles_does_not_leak(real_data: Path):
    pictures = open_data(real_data / "idc")
    split = read_split()
    some = [patient for part in PARTS for patient in split.patients(part, complete=False)[:15]]
    require_apart(pictures.of_patients(some), split)


def test_tiles_of_idc_are_split_by_their_patients(tmp_path: Path):
    tiles = make_tiles(tuple(str(patient) for patient in range(100, 140)), per_class=1)
    pictures = open_data(write_published(tiles, tmp_path))
    split = draw_stratified(pictures, 0)
    assert [len(split.patients(part)) for part in PARTS] == [26, 6, 8]
