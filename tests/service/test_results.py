"""Whole or not at all, and equal work is done once."""

import json
from pathlib import Path

import pytest

from service.results import ResultFolder, object_hashes, work_sha256
from wsi.errors import ResultExists, StoreIncomplete

WORK = {"slide": "a", "threshold": 0.5}


def publish(folder: ResultFolder, work: dict[str, object], text: str = "data") -> None:
    with folder.writing(work, overwrite=True) as partial:
        (partial / "tiles.csv").write_text(text)
        manifest = {"work_sha256": work_sha256(work), "outputs": object_hashes(partial)}
        folder.publish(manifest, {"seconds": {}})


def test_published_result_holds_its_work_and_no_other(tmp_path: Path) -> None:
    folder = ResultFolder(tmp_path / "slide.svs")
    publish(folder, WORK)
    assert folder.holds(WORK)
    assert not folder.holds({**WORK, "threshold": 0.6})
    assert sorted(p.name for p in folder.path.iterdir()) == [
        "manifest.json",
        "run.json",
        "tiles.csv",
    ]
    assert not folder.partial.exists()


@pytest.mark.parametrize("text", ["dat", "dama"])
def test_changed_file_of_the_result_is_named(tmp_path: Path, text: str) -> None:
    """As long as it was, too: "data" and "dama"."""
    folder = ResultFolder(tmp_path / "slide.svs")
    publish(folder, WORK)
    (folder.path / "tiles.csv").write_text(text)
    with pytest.raises(
        StoreIncomplete, match=r"tiles\.csv: it was changed or damaged .*--overwrite"
    ):
        folder.holds(WORK)
    assert not folder.holds({"slide": "b"})


def test_missing_file_of_the_result_is_named(tmp_path: Path) -> None:
    folder = ResultFolder(tmp_path / "slide.svs")
    publish(folder, WORK)
    (folder.path / "tiles.csv").unlink()
    with pytest.raises(StoreIncomplete, match=r"tiles\.csv: it went missing"):
        folder.holds(WORK)


def test_file_that_the_manifest_does_not_name_is_nobodys_concern(tmp_path: Path) -> None:
    folder = ResultFolder(tmp_path / "slide.svs")
    publish(folder, WORK)
    (folder.path / "overlay.png").write_text("exported later")
    assert folder.holds(WORK)


@pytest.mark.parametrize("text", ["{}", "[]", '{"work_sha256": "a"}', "[" * 200_000])
def test_manifest_without_what_it_needs_is_a_damaged_one(tmp_path: Path, text: str) -> None:
    folder = ResultFolder(tmp_path / "slide.svs")
    publish(folder, WORK)
    (folder.path / "manifest.json").write_text(text)
    with pytest.raises(StoreIncomplete, match=r"manifest\.json: not a manifest"):
        folder.holds(WORK)


def test_different_result_needs_overwrite(tmp_path: Path) -> None:
    folder = ResultFolder(tmp_path / "slide.svs")
    publish(folder, WORK)
    with (
        pytest.raises(ResultExists, match="--overwrite"),
        folder.writing({"slide": "b"}, overwrite=False),
    ):
        pass
    publish(folder, {"slide": "b"}, "other")
    assert (folder.path / "tiles.csv").read_text() == "other"


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_result_is_never_replaced(tmp_path: Path, overwrite: bool) -> None:
    folder = ResultFolder(tmp_path / "slide.svs")
    folder.path.write_text("the slide itself")
    with pytest.raises(ResultExists, match="no result of this program"):
        folder.require_free(overwrite=overwrite)
    assert not folder.holds(WORK)


def test_empty_folder_gives_way(tmp_path: Path) -> None:
    folder = ResultFolder(tmp_path / "slide.svs")
    folder.path.mkdir()
    folder.require_free(overwrite=False)


def test_equal_work_finds_what_a_stopped_run_left(tmp_path: Path) -> None:
    folder = ResultFolder(tmp_path / "slide.svs")
    with folder.writing(WORK, overwrite=False) as partial:
        (partial / "half").write_text("done so far")
    with folder.writing(WORK, overwrite=False) as partial:
        assert (partial / "half").read_text() == "done so far"
    with folder.writing({"slide": "b"}, overwrite=False) as partial:
        assert not (partial / "half").exists()


def test_second_writer_of_a_folder_is_refused(tmp_path: Path) -> None:
    folder = ResultFolder(tmp_path / "slide.svs")
    with (
        folder.writing(WORK, overwrite=False),
        pytest.raises(StoreIncomplete, match="another process"),
        folder.writing(WORK, overwrite=False),
    ):
        pass


def test_damaged_manifest_is_a_clear_error(tmp_path: Path) -> None:
    folder = ResultFolder(tmp_path / "slide.svs")
    publish(folder, WORK)
    (folder.path / "manifest.json").write_text("{")
    with pytest.raises(StoreIncomplete, match=r"manifest\.json.*--overwrite"):
        folder.holds(WORK)


def test_work_hash_does_not_depend_on_the_order_of_keys() -> None:
    assert work_sha256({"a": 1, "b": 2}) == work_sha256(json.loads('{"b": 2, "a": 1}'))
