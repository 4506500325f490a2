import csv
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from models.datasets import TileSet
from models.errors import DatasetError
from models.split import (
    HALF_COMPLETE,
    IDC_SPLIT,
    PARTS,
    draw_split,
    read_split,
    write_split,
)
from tests.models.labelled import make_tiles

MANY = tuple(str(patient) for patient in range(100, 200))


def listed_tiles(folder: Path) -> TileSet:
    """What tiles.csv says, without the pixels."""
    with (folder / "tiles.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    patient = np.array([row["patient"] for row in rows])
    gaps = {row["patient"] for row in rows if row["complete"] == "0"}
    return TileSet(
        np.empty((len(rows), 0, 0, 3), np.uint8),
        np.array([int(row["label"]) for row in rows]),
        patient,
        np.zeros((len(rows), 2), np.int64),
        ~np.isin(patient, sorted(gaps)),
    )


def test_no_patient_is_in_two_parts():
    listed = [row["patient"] for row in json.loads(IDC_SPLIT.read_text())["patients"]]
    split = read_split()
    assert len(listed) == len(set(listed)) == 218
    assert sorted(patient for part in PARTS for patient in split.patients(part)) == sorted(listed)


def test_validation_and_test_each_keep_at_least_four_complete_slides():
    split = read_split()
    assert len(split.patients("validation", complete=True)) >= 4
    assert len(split.patients("test", complete=True)) >= 4


@pytest.mark.parametrize("part", PARTS)
def test_sampled_patients_of_each_part_have_the_balance_of_all(part: str):
    sampled = [
        row for row in read_split().rows if not row.complete and row.patient not in HALF_COMPLETE
    ]
    mine = [row for row in sampled if row.part == part]
    shares = [
        sum(row.idc_tiles for row in rows) / sum(row.tiles for row in rows)
        for rows in (sampled, mine)
    ]
    assert abs(shares[0] - shares[1]) < 0.02


def test_no_picture_is_on_two_sides(real_data: Path):
    split = read_split()
    parts = defaultdict(set)
    with (real_data / "idc" / "tiles.csv").open(newline="") as table:
        for row in csv.DictReader(table):
            parts[row["rgb_sha1"]].add(split.part_of(row["patient"]))
    assert len(parts) > 24_000
    assert all(len(sides) == 1 for sides in parts.values())


def test_the_file_is_what_its_seed_and_method_draw(real_data: Path, tmp_path: Path):
    drawn = draw_split(listed_tiles(real_data / "idc"), read_split().seed, HALF_COMPLETE)
    write_split(drawn, tmp_path / "idc.json")
    assert (tmp_path / "idc.json").read_text() == IDC_SPLIT.read_text()


def test_shares_are_met_whatever_the_seed():
    for seed in range(5):
        split = draw_split(make_tiles(MANY, per_class=1), seed)
        counts = [len(split.patients(part)) for part in PARTS]
        assert counts[0] in range(63, 68)
        assert counts[1] in range(13, 18)
        assert counts[2] in range(18, 23)


def test_a_patient_that_is_not_listed_trains():
    split = read_split()
    tiles = make_tiles(("new", "10257"))
    assert split.part_of("new") == "train"
    assert split.part_of("10257") == "test"
    assert split.take(tiles, "train").patients == ["new"]
    assert split.take(tiles, "test").patients == ["10257"]
    assert split.take(tiles, "train", complete=True).patients == []


def test_a_patient_listed_twice_is_refused(tmp_path: Path):
    record = json.loads(IDC_SPLIT.read_text())
    record["patients"].append(record["patients"][0] | {"part": "test"})
    (tmp_path / "twice.json").write_text(json.dumps(record))
    with pytest.raises(DatasetError, match="lists a patient twice"):
        read_split(tmp_path / "twice.json")


def test_an_unknown_part_is_refused(tmp_path: Path):
    record = json.loads(IDC_SPLIT.read_text())
    record["patients"][0]["part"] = "holdout"
    (tmp_path / "odd.json").write_text(json.dumps(record))
    with pytest.raises(DatasetError, match="holdout"):
        read_split(tmp_path / "odd.json")


def write_record(path: Path, **changes: object) -> Path:
    """None: without that field."""
    row = {"patient": "a", "part": "train", "complete": False, "tiles": 3}
    record = {"seed": 0, "method": "", "unlisted": "none", "patients": [row]} | changes
    path.write_text(json.dumps({k: v for k, v in record.items() if v is not None}))
    return path


def test_a_record_of_the_fields_that_every_split_has_is_read(tmp_path: Path):
    assert read_split(write_record(tmp_path / "a.json")).part_of("a") == "train"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patients": None}, "it lacks 'patients'"),
        ({"seed": None}, "it lacks 'seed'"),
        ({"author": "x"}, "it has the unknown field 'author'"),
        ({"patients": {}}, r"'patients' of it is \{\}"),
        ({"patients": [7]}, "patient 0 of it is no JSON object"),
        ({"patients": [{"patient": "a"}]}, "patient 0 of it lacks 'part'"),
        (
            {"patients": [{"patient": "a", "part": ["test"], "complete": True, "tiles": 1}]},
            r"'part' of patient 0 of it is \['test'\]",
        ),
    ],
)
def test_what_a_split_file_lacks_is_said(tmp_path: Path, changes: dict[str, object], message: str):
    sentence = rf"odd\.json is not a split file: {message}; `wsi data split` writes one"
    with pytest.raises(DatasetError, match=sentence):
        read_split(write_record(tmp_path / "odd.json", **changes))


@pytest.mark.parametrize(
    ("text", "message"), [("[]", "it is no JSON object"), ("[" * 200_000, "it is no JSON")]
)
def test_another_file_than_a_split_is_one_sentence(tmp_path: Path, text: str, message: str):
    (tmp_path / "odd.json").write_text(text)
    with pytest.raises(DatasetError, match=f"not a split file: {message}"):
        read_split(tmp_path / "odd.json")


def test_a_seed_below_zero_is_refused():
    with pytest.raises(DatasetError, match="seed -1: use 0 or more"):
        draw_split(make_tiles(("a", "b", "c")), -1)
