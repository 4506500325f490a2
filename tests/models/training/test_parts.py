from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.errors import DatasetError
from models.recipe import DataConfig, TrainConfig
from models.split import read_split
from models.training.parallel import Processes
from models.training.parts import Parts, read_parts
from tests.models.labelled import make_tiles, write_packed
from tests.models.pictures import breakhis_names, write_bach, write_flat
from tests.models.training_runs import SMALL

ALONE = Processes(torch.device("cpu"))
CLASSES = ("normal", "benign", "in_situ", "invasive")
BACH = TrainConfig(
    "bach",
    classes=CLASSES,
    tile_px=16,
    mpp=0.84,
    phases=((1, 16),),
    data=DataConfig(layout="bach", how="tiles", split="drawn"),
)


def read(config: TrainConfig, data: Path, folder: Path) -> Parts:
    return read_parts(config, data, folder / "stores", ALONE)


def test_pictures_are_cut_at_the_recipe_s_resolution_and_split_by_picture(tmp_path: Path):
    """Of 64 x 48 px at 0.42 um/px: 32 x 24 px at 0.84, two by two tiles of 16 px."""
    write_bach(tmp_path / "data", per_class=10)

    parts = read(BACH, tmp_path / "data", tmp_path)

    assert not set(parts.training.patients) & set(parts.validation.patients)
    assert len(parts.training) == 4 * len(parts.training.patients)
    assert set(parts.validation.label.tolist()) == {0, 1, 2, 3}
    assert parts.training.batch(torch.arange(3).numpy()).shape == (3, 16, 16, 3)
    assert parts.split.startswith("By picture, since the set does not say")


def test_decoded_pictures_are_shared_by_recipes_that_cut_them_alike(tmp_path: Path):
    write_bach(tmp_path / "data", per_class=10)
    for config in (BACH, replace(BACH, name="other", loss="weighted"), replace(BACH, mpp=0.42)):
        read(config, tmp_path / "data", tmp_path)

    assert len(list((tmp_path / "stores").iterdir())) == 2


def test_data_of_other_classes_name_both(tmp_path: Path):
    patients = {"14-1": "B_A", "14-2": "M_DC"}
    write_flat(tmp_path / "data", breakhis_names(patients))
    config = replace(BACH, data=replace(BACH.data, layout="breakhis"))

    with pytest.raises(DatasetError, match=r"benign, malignant, but recipe bach is for normal"):
        read(config, tmp_path / "data", tmp_path)


def test_an_empty_class_is_named(tmp_path: Path):
    photos = write_bach(tmp_path / "data", per_class=2)
    for path in (photos / "InSitu").glob("*.tif"):
        path.unlink()
    table = photos / "microscopy_ground_truth.csv"
    kept = [line for line in table.read_text().splitlines() if "InSitu" not in line]
    table.write_text("\n".join(kept))

    with pytest.raises(DatasetError, match=r"class 2 \(in_situ\)"):
        read(BACH, tmp_path / "data", tmp_path)


def test_a_limit_takes_as_many_of_each_class_and_always_the_same(tmp_path: Path):
    write_bach(tmp_path / "data", per_class=10)
    config = replace(BACH, data=replace(BACH.data, limit=3))

    first, again = (read(config, tmp_path / "data", tmp_path) for _ in range(2))

    assert sorted(first.training.label.tolist()) == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert (first.training.index == again.training.index).all()


def test_without_a_split_the_card_hears_that_it_is_none(tmp_path: Path):
    write_bach(tmp_path / "data", per_class=1)
    config = replace(BACH, data=replace(BACH.data, split="none"))

    parts = read(config, tmp_path / "data", tmp_path)

    assert len(parts.training) == len(parts.validation) == 16
    assert parts.split.startswith("None: validated on the training tiles")
    few = read(replace(config, data=replace(config.data, limit=2)), tmp_path / "data", tmp_path)
    assert few.training.index.tolist() == few.validation.index.tolist()


def test_an_identical_tile_on_two_sides_of_the_idc_split_is_refused(tmp_path: Path):
    """That of a patient whom the split does not list, and who therefore trains."""
    split = read_split()
    tested = split.patients("test", complete=False)[0]
    others = [split.patients(part, complete=False)[0] for part in ("train", "validation")]
    tiles = make_tiles((*others, "99999", tested), per_class=4)
    copied = np.flatnonzero(tiles.patient == "99999")[0]
    of_test = np.flatnonzero(tiles.patient == tested)[0]
    assert read(SMALL, write_packed(tiles, tmp_path / "apart"), tmp_path).training

    tiles.rgb[copied] = tiles.rgb[of_test]

    with pytest.raises(DatasetError, match=r"patient 99999 .*identical tiles") as refused:
        read(SMALL, write_packed(tiles, tmp_path / "copied"), tmp_path)
    assert f"patient {tested}" in str(refused.value)
