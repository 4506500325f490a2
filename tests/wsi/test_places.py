"""Where something is to be written is looked at before the work."""

import os
from pathlib import Path

import pytest

from wsi.errors import InvalidOption, ResultExists
from wsi.store.places import require_file_place, require_folder_place


@pytest.mark.parametrize("name", ["", ".", "a"])
def test_a_folder_is_no_place_for_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidOption, match="is a folder; give a file's name as --out"):
        require_file_place(Path(name))


def test_only_an_ordinary_file_is_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidOption, match="pipe: it is no ordinary file"):
        require_file_place(tmp_path / "pipe", overwrite=True)


def test_what_is_there_stays_unless_somebody_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("")
    require_file_place(tmp_path / "a.png", overwrite=True)
    with pytest.raises(ResultExists, match="use --overwrite, or another --out"):
        require_file_place(tmp_path / "a.png", overwrite=False)


def test_an_input_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "slide.png").write_text("")
    (tmp_path / "link.png").symlink_to("slide.png")
    with pytest.raises(InvalidOption, match=r"link\.png: .*slide\.png is read for it"):
        require_file_place(
            tmp_path / "link.png", overwrite=True, inputs=["https://a/b", tmp_path / "slide.png"]
        )


@pytest.mark.parametrize("below", ["", "runs", "runs/more"])
def test_a_file_is_no_folder(tmp_path: Path, below: str) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(InvalidOption, match=r"a: a file is where a folder is needed; .* --report"):
        require_folder_place(tmp_path / "a" / below, option="--report")
    with pytest.raises(InvalidOption, match="a file is where a folder is needed"):
        require_file_place(tmp_path / "a" / below / "x.png")


def test_a_name_that_the_disk_does_not_take_is_refused(tmp_path: Path) -> None:
    """255 bytes are the most, of which `.partial` takes 8."""
    require_folder_place(tmp_path / "new" / ("n" * 247))
    for path in (tmp_path / "new" / ("n" * 248), tmp_path / ("n" * 248) / "new"):
        with pytest.raises(InvalidOption, match=r"a name of 248 bytes, and .* takes 247"):
            require_folder_place(path)
    with pytest.raises(InvalidOption, match="a name of 248 bytes"):
        require_file_place(tmp_path / ("n" * 248))


def test_a_missing_folder_is_a_place_and_is_not_made(tmp_path: Path) -> None:
    assert require_folder_place(tmp_path / "a" / "b") == tmp_path
    require_file_place(tmp_path / "a" / "b.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InvalidOption, match="it may not be written to"):
        require_folder_place(tmp_path / "a")
