"""wsi data: the library with a mouth."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from models.split import read_split
from service.cli import app
from tests.models.pictures import breakhis_names, write_flat
from wsi.errors import InvalidOption


def run(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def write_patients(folder: Path, count: int = 20) -> Path:
    patients = {f"14-{i}": "B_A" if i % 2 else "M_DC" for i in range(count)}
    return write_flat(folder, breakhis_names(patients))


def test_a_report_is_text_for_people_and_json_for_machines(tmp_path: Path):
    write_patients(tmp_path)
    code, text = run("data", "report", tmp_path, "--quiet")
    assert code == 0
    assert "breakhis, 40 pictures of 20 patients" in text
    told = json.loads(run("data", "report", tmp_path, "--quiet", "--json")[1])
    assert told["by_class"]["benign"] == {"pictures": 20, "patients": 10}


def test_problems_change_the_exit_code_only_on_request(tmp_path: Path):
    next(write_patients(tmp_path).glob("*.png")).write_bytes(b"")
    code, text = run("data", "report", tmp_path)
    assert code == 0
    assert "problem: 1 pictures cannot be read" in text
    assert run("data", "report", tmp_path, "--strict")[0] == 1


def test_a_sound_set_passes_a_strict_report(tmp_path: Path):
    assert run("data", "report", write_patients(tmp_path), "--strict")[0] == 0


def test_a_split_is_drawn_and_shown_in_the_report(tmp_path: Path):
    folder = write_patients(tmp_path / "data")
    code, text = run("data", "split", folder, "--out", tmp_path / "s.json", "--seed", 4)
    assert (code, text.strip()) == (0, str(tmp_path / "s.json"))
    assert len(read_split(tmp_path / "s.json").rows) == 20
    told = json.loads(run("data", "report", folder, "--split", tmp_path / "s.json", "--json")[1])
    assert list(told["by_part"]) == ["train", "validation", "test"]


def test_folds_are_a_file_each(tmp_path: Path):
    folder = write_patients(tmp_path / "data")
    run("data", "split", folder, "--out", tmp_path / "f.json", "--folds", 4)
    folds = [read_split(tmp_path / f"f-{i}.json") for i in (1, 2, 3, 4)]
    tested = [patient for fold in folds for patient in fold.patients("test")]
    assert sorted(tested) == sorted(f"14-{i}" for i in range(20))


def test_published_case_lists_make_a_split(tmp_path: Path):
    folder = write_patients(tmp_path / "data")
    (tmp_path / "test.txt").write_text("14-1\n14-2\n")
    cases = f"test={tmp_path / 'test.txt'}"
    assert run("data", "split", folder, "--out", tmp_path / "s.json", "--cases", cases)[0] == 0
    assert read_split(tmp_path / "s.json").patients("test") == ["14-1", "14-2"]


def test_case_lists_want_a_part(tmp_path: Path):
    folder = write_patients(tmp_path / "data")
    code, text = run("data", "split", folder, "--out", tmp_path / "s", "--cases", "cases.txt")
    assert code == 2
    assert "PART=FILE" in text


@pytest.mark.parametrize("option", [("--seed", -1), ("--folds", 0), ("--folds", 2)])
def test_a_number_out_of_its_range_is_refused(tmp_path: Path, option: tuple[str, int]):
    folder = write_patients(tmp_path / "data")
    code, text = run("data", "split", folder, "--out", tmp_path / "s.json", *option)
    assert (code, option[0] in text) == (2, True)
    assert not list(tmp_path.glob("*.json"))


def test_where_a_split_cannot_go_is_known_before_a_picture_is_read(tmp_path: Path):
    (tmp_path / "a.txt").write_text("14-1")
    for out, says in ((tmp_path, "is a folder"), (tmp_path / "a.txt", "is read for it")):
        cases = ("--cases", f"test={tmp_path / 'a.txt'}")
        with pytest.raises(InvalidOption, match=says):
            run("data", "split", tmp_path / "no data", "--out", out, *cases)
    assert (tmp_path / "a.txt").read_text() == "14-1"


@pytest.mark.parametrize("below", ["", "more"])
def test_where_a_report_cannot_go_is_known_before_anything_is_scored(tmp_path: Path, below: str):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidOption, match=r"a file is where a folder is needed; .* --report"):
        run("evaluate", "--data", tmp_path / "no data", "--report", tmp_path / "file" / below)
