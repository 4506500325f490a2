"""Published case lists become a split."""

from pathlib import Path

import pytest

from models.datasets.cases import read_cases
from models.errors import DatasetError
from tests.models.labelled import make_tiles

DATA = make_tiles(("8863", "8864", "8865", "8867"))


def write_list(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_text_lists_name_patients_or_their_files(tmp_path: Path):
    split = read_cases(
        {
            "train": write_list(tmp_path / "train.txt", "8863\n\n8864.tif\n"),
            "test": write_list(tmp_path / "test.txt", "slides/8865_idx5.png\r\n"),
        },
        DATA,
    )
    assert split.patients("train") == ["8863", "8864"]
    assert split.patients("test") == ["8865"]
    assert split.part_of("8867") == "none"


@pytest.mark.parametrize("text", ["id,age\n8863,52\n", "age,Case\n52,8863\n", "8863,52\n"])
def test_a_csv_names_its_column_or_means_the_first(tmp_path: Path, text: str):
    split = read_cases({"test": write_list(tmp_path / "t.csv", text)}, DATA)
    assert split.patients("test") == ["8863"]


def test_a_case_in_two_lists_is_refused(tmp_path: Path):
    lists = {
        "train": write_list(tmp_path / "a.txt", "8863\n8864\n"),
        "test": write_list(tmp_path / "b.txt", "8864.svs\n"),
    }
    with pytest.raises(DatasetError, match=r"two parts, one is 8864 \(train and test\)"):
        read_cases(lists, DATA)


def test_a_list_of_other_cases_is_refused(tmp_path: Path):
    path = write_list(tmp_path / "a.txt", "1\n2\n")
    with pytest.raises(DatasetError, match=r"none of the 2 cases in .*a\.txt is in the data"):
        read_cases({"train": path}, DATA)


def test_cases_that_are_not_here_are_counted(tmp_path: Path):
    path = write_list(tmp_path / "a.txt", "8863\n8888\n8889\n")
    assert "2 listed cases are not in the data" in read_cases({"train": path}, DATA).method


def test_a_missing_list_and_a_strange_part_are_named(tmp_path: Path):
    with pytest.raises(DatasetError, match=r"absent\.txt is no list of cases"):
        read_cases({"train": tmp_path / "absent.txt"}, DATA)
    with pytest.raises(DatasetError, match="no part 'val'"):
        read_cases({"val": tmp_path / "absent.txt"}, DATA)


def test_a_list_that_is_no_text_is_one_sentence(tmp_path: Path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe8\x008\x006\x003\x00")
    with pytest.raises(
        DatasetError, match=r"it is no text in UTF-8; use a file with a case a line"
    ):
        read_cases({"train": tmp_path / "a.txt"}, DATA)
