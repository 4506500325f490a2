from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.datasets import load_tiles, open_data
from models.errors import DatasetError
from models.recipe import DataConfig, PretrainConfig, TrainConfig
from models.registry import MODELS
from models.split import PatientRow, Split, read_split, write_split
from models.training.parallel import Processes
from models.training.parts import Parts, read_parts
from tests.models.labelled import make_tiles, write_packed, write_published
from tests.models.pictures import breakhis_names, write_bach, write_flat
from tests.models.training_runs import SMALL, STILL, write_data

pytestmark = pytest.mark.usefixtures("architectures")

ALONE = Processes(torch.device("cpu"))
CLASSES = ("normal", "benign", "in_situ", "invasive")
BACH = TrainConfig(
    "bach",
    classes=CLASSES,
    tile_px=16,
    mpp=0.84,
    phases=((1, 16),),
    architecture="tiny",
    augment=STILL,
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

    with pytest.raises(DatasetError, match=r"benign, malignant, .*but recipe bach is for normal"):
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

    with pytest.raises(DatasetError, match=r"99999\.webp, cell 0.*identical pixels") as refused:
        read(SMALL, write_packed(tiles, tmp_path / "copied"), tmp_path)
    assert f"{tested}.webp, cell 0 (test)" in str(refused.value)


def write_idc(folder: Path, *, packed: bool = True) -> Path:
    """Of patients of each part; of the first tile 41 x 13 px are there, where packed."""
    split = read_split()
    chosen = [
        patient
        for part in ("train", "validation", "test")
        for patient in split.patients(part, complete=False)[:2]
    ]
    tiles = make_tiles(tuple(chosen), per_class=3)
    if packed:
        return write_packed(tiles, folder, sizes={0: (41, 13)})
    return write_published(tiles, folder)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("free", [2**40, 0])
def test_idc_tiles_of_a_store_are_those_that_were_loaded_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool, free: int
):
    """The same pixels and labels in the same order, in memory and on the disk."""
    monkeypatch.setattr("models.training.parts.free_bytes", lambda: free)
    data = write_idc(tmp_path / "data", packed=packed)

    parts = read(SMALL, data, tmp_path)

    tiles, split = load_tiles(data), read_split()
    for mine, part in ((parts.training, "train"), (parts.validation, "validation")):
        expected = split.take(tiles, part, complete=False)
        np.testing.assert_array_equal(mine.batch(np.arange(len(mine))), expected.rgb)
        assert mine.label.tolist() == expected.label.tolist()
        assert mine.patient.tolist() == expected.patient.tolist()
    assert parts.split == "By patient, models/splits/idc.json"


def test_idc_recipes_share_a_store(tmp_path: Path):
    data = write_idc(tmp_path / "data")
    for config in (SMALL, replace(SMALL, name="other", loss="focal")):
        read(config, data, tmp_path)
    assert len(list((tmp_path / "stores").iterdir())) == 1


def test_two_folders_are_read_by_an_idc_recipe(tmp_path: Path):
    published = write_idc(tmp_path / "published", packed=False)
    for label, name in enumerate(("not_cancer", "cancer")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for path in published.glob(f"*/{label}/*.png"):
            path.rename(tmp_path / "data" / name / path.name)

    parts = read(SMALL, tmp_path / "data", tmp_path)

    assert (len(parts.training), parts.training.classes) == (12, ("non_idc", "idc"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"classes": ("idc", "non_idc")}, "has the classes non_idc, idc, in this order"),
        ({"mpp": 0.5}, r"mpp is 0\.5, but .* has 4 um/px.*set mpp to 4"),
        ({"mpp": 4.5}, r"mpp is 4\.5"),
        ({"tile_px": 60}, "tile_px is 60, but the tiles in .* are of 50 px"),
        ({"tile_px": 52, "phases": ((1, 52),)}, "tile_px is 52"),
        ({"data": DataConfig(layout="bach")}, r"microscopy_ground_truth\.csv is missing"),
        ({"data": DataConfig(magnification=40)}, "magnification 40"),
    ],
)
def test_idc_tiles_of_another_recipe_are_refused_before_they_are_decoded(
    tmp_path: Path, changes: dict[str, object], said: str
):
    config = replace(SMALL, augment=STILL, **changes)  # type: ignore[arg-type]
    with pytest.raises(DatasetError, match=said):
        read(config, write_idc(tmp_path / "data"), tmp_path)
    assert not list(tmp_path.glob("stores/*"))


def test_a_resolution_that_is_known_to_a_tenth_may_be_off_by_less(tmp_path: Path):
    assert read(replace(SMALL, mpp=3.7), write_idc(tmp_path / "data"), tmp_path).training


BREAKHIS = replace(
    BACH,
    classes=("benign", "malignant"),
    tile_px=40,
    phases=((1, 40),),
    mpp=0.49,
    data=DataConfig(layout="breakhis", how="tile", split="none"),
)


def write_breakhis(folder: Path, *magnifications: int) -> Path:
    for magnification in magnifications:
        names = breakhis_names({"14-1": "B_A", "14-2": "M_DC"}, magnification=magnification)
        write_flat(folder, names)
    return folder


def test_the_card_s_resolution_is_that_of_pictures_as_they_are(tmp_path: Path):
    """At 40x 0.49 um/px, at 100x 0.20."""
    data = write_breakhis(tmp_path / "data", 40)
    assert len(read(BREAKHIS, data, tmp_path).training) == 4
    with pytest.raises(DatasetError, match=r"mpp is 4, but .*40-001\.png has 0\.49 um/px"):
        read(replace(BREAKHIS, mpp=4.0), data, tmp_path)
    both = write_breakhis(tmp_path / "both", 40, 100)
    with pytest.raises(DatasetError, match=r"100-001\.png has 0\.2 um/px"):
        read(BREAKHIS, both, tmp_path)


def test_a_resized_picture_has_the_resolution_of_a_square_of_its_area(tmp_path: Path):
    """40 x 30 px at 0.49 um/px are 16.97 um a side of 16 px: 1.061 um/px."""
    data = write_breakhis(tmp_path / "data", 40)
    how = replace(BREAKHIS.data, how="resize")
    config = replace(BREAKHIS, tile_px=16, phases=((1, 16),), data=how)
    with pytest.raises(DatasetError, match=r"0\.49, but .* has 1\.06 um/px when it is resized"):
        read(config, data, tmp_path)
    assert len(read(replace(config, mpp=1.06), data, tmp_path).training) == 4


def write_own(path: Path, parts: dict[str, str], unlisted: str = "none") -> str:
    rows = tuple(PatientRow(patient, part, False, 1) for patient, part in parts.items())
    write_split(Split(0, "Drawn by hand.", unlisted, rows), path)
    return str(path)


def own(config: TrainConfig, path: str) -> TrainConfig:
    return replace(config, data=replace(config.data, split=path))


@pytest.mark.parametrize("unlisted", ["none", "train", "validation"])
def test_a_split_of_one_s_own_says_who_trains_who_validates_and_what_of_the_unlisted(
    tmp_path: Path, unlisted: str
):
    data = write_packed(make_tiles(("a", "b", "c", "d")), tmp_path / "data")
    listed = {"b": "train", "c": "validation", "d": "test"}
    path = write_own(tmp_path / "mine.json", listed, unlisted)

    parts = read(own(SMALL, path), data, tmp_path)

    assert parts.training.patients == ["a", "b"][unlisted != "train" :]
    assert parts.validation.patients == ["a", "c"][unlisted != "validation" :]
    assert parts.split.startswith("By patient, mine.json (sha256 ")
    assert parts.split.endswith(" Drawn by hand.")


def test_a_split_of_one_s_own_is_for_every_layout(tmp_path: Path):
    write_bach(tmp_path / "data", per_class=3)
    names = [item.patient for item in open_data(tmp_path / "data").items]
    sides = {name: ("train", "validation", "test")[i % 3] for i, name in enumerate(names)}
    parts = read(own(BACH, write_own(tmp_path / "mine.json", sides)), tmp_path / "data", tmp_path)
    assert (parts.training.patients, parts.validation.patients) == (
        sorted(names[::3]),
        sorted(names[1::3]),
    )
    assert parts.split.startswith("By picture, mine.json")


def test_a_split_of_one_s_own_that_leaks_or_lacks_is_refused(tmp_path: Path):
    tiles = make_tiles(("a", "b", "c"))
    data = write_packed(tiles, tmp_path / "data")
    nobody = write_own(tmp_path / "nobody.json", {"a": "train", "b": "train"})
    with pytest.raises(DatasetError, match="no picture to validate with"):
        read(own(SMALL, nobody), data, tmp_path)
    untrained = write_own(tmp_path / "untrained.json", {"a": "validation"})
    with pytest.raises(DatasetError, match="none of the 0 training tiles"):
        read(own(SMALL, untrained), data, tmp_path)
    with pytest.raises(DatasetError, match=r"absent\.json is not a split file"):
        read(own(SMALL, str(tmp_path / "absent.json")), data, tmp_path)

    tiles.rgb[8] = tiles.rgb[0]
    leaking = write_own(tmp_path / "leaking.json", {"a": "train", "b": "validation"})
    with pytest.raises(DatasetError, match=r"a\.webp, cell 0 .*b\.webp, cell 0 .*identical"):
        read(own(SMALL, leaking), write_packed(tiles, tmp_path / "copied"), tmp_path)


def test_changed_data_are_decoded_anew_and_only_the_last_store_before_is_kept(tmp_path: Path):
    data = write_data(tmp_path / "data")
    stores = tmp_path / "stores"
    sizes = []
    for per_class in (4, 5, 6, 7):
        write_data(data, per_class=per_class)
        sizes.append(len(read(SMALL, data, tmp_path).training))
    assert sizes == [32, 40, 48, 56]
    assert len(list(stores.iterdir())) == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"architecture": "vit_s_16"}, "vit_s_16 does not take 32 x 32 px.*Wrong image height"),
        ({"architecture": "vgg16", "phases": ((1, 24),)}, "vgg16 does not take 24 x 24 px"),
        ({"architecture": "vgg16", "input_px": 20}, "20 x 20 px, and input_px is 20"),
        (
            {
                "architecture": "vgg16", "start": "imagenet", "without_imagenet": "pretrain",
                "pretrain": PretrainConfig(crop_px=16),
            },
            "16 x 16 px",
        ),
    ],
)  # fmt: skip
def test_a_crop_that_the_network_does_not_take_is_refused_before_anything_is_read(
    tmp_path: Path, changes: dict[str, object], said: str
):
    with pytest.raises(DatasetError, match=said):
        read(replace(SMALL, **changes), tmp_path / "absent", tmp_path)  # type: ignore[arg-type]


def build_reading(num_classes: int) -> nn.Module:
    return Reading()


class Reading(nn.Module):
    """Looks at the numbers that go through it, which an outline of a network has not."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.weight * float(pixels.mean().item())


def test_a_network_that_looks_at_its_numbers_is_not_refused(tmp_path: Path):
    MODELS["reading"] = f"{__name__}:build_reading"
    config = replace(SMALL, architecture="reading")
    with pytest.raises(DatasetError, match="absent is not a folder"):
        read(config, tmp_path / "absent", tmp_path)
