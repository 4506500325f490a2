"""Which slides a batch has, and where each result goes."""

import errno
import os
from pathlib import Path

import pytest

from service.batch_list import list_slides
from service.errors import InvalidRequest
from service.request import HeatmapRequest

TEMPLATE = HeatmapRequest(slide="", mpp=0.5)


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def write_list(folder: Path, text: str) -> Path:
    path = folder / "slides.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_folder_is_mirrored_with_extensions(tmp_path: Path) -> None:
    root = tmp_path / "slides"
    touch(root / "a" / "one.svs", root / "b" / "one.svs", root / "b" / "one.tiff", root / "b/x.txt")
    tasks = list_slides(root, tmp_path / "out", TEMPLATE)
    assert [str(t.folder.relative_to(tmp_path / "out")) for t in tasks] == [
        "a/one.svs",
        "b/one.svs",
        "b/one.tiff",
    ]
    assert all(task.request.mpp == 0.5 for task in tasks)


def test_results_inside_the_folder_are_not_slides(tmp_path: Path) -> None:
    touch(tmp_path / "one.svs", tmp_path / "out" / "one.svs" / "overlay.png")
    assert len(list_slides(tmp_path, tmp_path / "out", TEMPLATE)) == 1


def test_results_of_another_batch_are_not_slides(tmp_path: Path) -> None:
    result = tmp_path / "earlier" / "one.svs"
    touch(tmp_path / "one.svs", result / "overlay.png", result / "manifest.json")
    touch(result / "scores.zarr" / "zarr.json")
    assert len(list_slides(tmp_path, tmp_path / "out", TEMPLATE)) == 1


def test_folder_that_cannot_be_listed_is_not_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "a" / "one.svs", tmp_path / "b" / "two.svs")
    scan = os.scandir

    def refuse_b(path: str) -> object:  # as the system does to somebody without the right to it
        if str(path).endswith("b"):
            raise PermissionError(errno.EACCES, "not permitted", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse_b)
    with pytest.raises(PermissionError):
        list_slides(tmp_path, tmp_path / "out", TEMPLATE)


@pytest.mark.parametrize("content", [b"II*\0\xff\xfe" * 99, b'path\n"' + b"a" * 200_000])
def test_slide_in_place_of_a_list_is_one_clear_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.svs").write_bytes(content)
    with pytest.raises(InvalidRequest, match=r"a\.svs: it is no CSV .*use `wsi heatmap`"):
        list_slides(tmp_path / "a.svs", tmp_path / "out", TEMPLATE)


def test_truth_and_masks_beside_a_slide_are_none(tmp_path: Path) -> None:
    names = ("one.tiff", "one.truth.png", "one.tiff.mask.png", "one.tiff.mask-picture.png")
    touch(*(tmp_path / name for name in names))
    (task,) = list_slides(tmp_path, tmp_path / "out", TEMPLATE)
    assert task.request.slide.endswith("one.tiff")


def test_data_folder_of_an_mrxs_slide_is_part_of_it(tmp_path: Path) -> None:
    touch(tmp_path / "slide.mrxs", tmp_path / "slide" / "label.png")
    (task,) = list_slides(tmp_path, tmp_path / "out", TEMPLATE)
    assert task.request.slide.endswith("slide.mrxs")


def test_list_gives_each_slide_its_own_options(tmp_path: Path) -> None:
    table = write_list(tmp_path, "path,mpp,mask\na/x.svs,0.25,none\nb/x.svs,,own.png\n")
    first, second = list_slides(table, tmp_path / "out", TEMPLATE)
    assert (first.request.mpp, first.request.mask) == (0.25, "none")
    assert (second.request.mpp, second.request.mask) == (0.5, str(tmp_path / "own.png"))
    assert [t.folder.relative_to(tmp_path / "out").as_posix() for t in (first, second)] == [
        "a/x.svs",
        "b/x.svs",
    ]


def test_list_may_hold_addresses(tmp_path: Path) -> None:
    table = write_list(tmp_path, "path\nhttps://host/slides/x.svs\n")
    (task,) = list_slides(table, tmp_path / "out", TEMPLATE)
    assert task.folder == tmp_path / "out" / "host" / "slides" / "x.svs"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slide\nx.svs\n", "columns are slide; .*separated by commas, in UTF-8.* path,mpp,mask"),
        ("path;mpp\nx.svs;0,5\n", "columns are path;mpp; .*separated by commas"),
        ("path,path\nx.svs,y.svs\n", "columns are path, path; name each one once"),
        ("path,mpp\nx.svs,0.5,y.svs\n", "line 2: 3 fields under 2 columns"),
        ('path\nx.svs\n"y.svs\n', "a quotation mark is not closed"),
        ("path,mpp\nx.svs,fast\n", "line 2: mpp 'fast'"),
        ("path\n,\n", "columns|line 2: the path is empty"),
        ("path\nx.svs\nx.svs\n", "is in it twice"),
        ("path\n", "no slide in it"),
        ("", "columns are none"),
    ],
)
def test_bad_list_is_one_clear_sentence(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        list_slides(write_list(tmp_path, text), tmp_path / "out", TEMPLATE)


def test_missing_folder_and_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="no such folder"):
        list_slides(tmp_path / "nowhere", tmp_path / "out", TEMPLATE)
    with pytest.raises(InvalidRequest, match="no slide"):
        list_slides(tmp_path, tmp_path / "out", TEMPLATE)


def test_dicom_series_of_several_files_is_one_slide(real_data: Path, tmp_path: Path) -> None:
    import shutil

    for name in ("boxes_0.dcm", "boxes_1.dcm", "bone-jpeg.dcm"):
        shutil.copy(real_data / "slides" / name, tmp_path)
    tasks = list_slides(tmp_path, tmp_path / "out", TEMPLATE)
    assert [t.folder.name for t in tasks] == ["bone-jpeg.dcm", "boxes_0.dcm"]


def test_secrets_of_an_address_are_no_part_of_its_folder(tmp_path: Path) -> None:
    table = write_list(tmp_path, "path\nhttps://user:secret@host/x.svs?signature=secret\n")
    (task,) = list_slides(table, tmp_path / "out", TEMPLATE)
    assert task.folder == tmp_path / "out" / "host" / "x.svs"


def folders_of(tmp_path: Path, *addresses: str) -> list[str]:
    table = write_list(tmp_path, "\n".join(["path", *addresses, ""]))
    tasks = list_slides(table, tmp_path / "out", TEMPLATE)
    return [task.folder.relative_to(tmp_path / "out").as_posix() for task in tasks]


def test_slides_of_one_address_are_told_apart_by_what_the_query_says(tmp_path: Path) -> None:
    first, second = folders_of(tmp_path, "https://host/a/x?id=1", "https://host/a/x?id=2")
    assert first != second
    assert first.startswith("host/a/x-")
    assert [second] == folders_of(tmp_path, "https://host/a/x?signature=secret&id=2")
    (only,) = folders_of(tmp_path, "memory://?id=1")
    assert only.startswith("slide-")


def test_slide_that_is_named_twice_is_told_without_its_secrets(tmp_path: Path) -> None:
    signed = [f"https://user:secret@host/x.svs?signature=secret{n}" for n in (1, 2)]
    with pytest.raises(InvalidRequest, match=r"https://host/x\.svs is in it twice") as caught:
        folders_of(tmp_path, *signed)
    assert "secret" not in str(caught.value)


def test_malformed_addresses_are_rows_like_others(tmp_path: Path) -> None:
    bad = ["https://[bad/x.svs", "https://host:abc/x.svs", "https://user:se#cret@host/x.svs"]
    *folders, good = folders_of(tmp_path, *bad, "https://host/x.svs")
    assert good == "host/x.svs"
    assert len(set(folders)) == 3
    assert "cret" not in "".join(folders)


def test_list_of_a_spreadsheet_in_utf_8_is_taken(tmp_path: Path) -> None:
    (tmp_path / "slides.csv").write_bytes(b"\xef\xbb\xbfpath,mpp\r\nx.svs,0.25\r\n\r\n")
    (task,) = list_slides(tmp_path / "slides.csv", tmp_path / "out", TEMPLATE)
    assert (task.request.slide, task.request.mpp) == (str(tmp_path / "x.svs"), 0.25)


def test_list_in_utf_16_is_refused_by_what_it_has_to_be(tmp_path: Path) -> None:
    (tmp_path / "slides.csv").write_text("path\nx.svs\n", encoding="utf-16")
    with pytest.raises(InvalidRequest, match=r"no text in UTF-8.*separated by commas, in UTF-8"):
        list_slides(tmp_path / "slides.csv", tmp_path / "out", TEMPLATE)


def test_bytes_of_a_slide_in_place_of_a_list_are_not_printed(tmp_path: Path) -> None:
    (tmp_path / "a.svs").write_bytes(b"II*\0\x1b[31m" + b"\x07" * 5000)
    with pytest.raises(InvalidRequest, match="for one slide use `wsi heatmap`") as caught:
        list_slides(tmp_path / "a.svs", tmp_path / "out", TEMPLATE)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < len(str(tmp_path)) + 350


def test_list_that_names_slides_beside_its_folder_keeps_their_common_part(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    table = write_list(tmp_path / "lists", "path\nsl/a.svs\n../others/x.svs\n")
    first, second = list_slides(table, tmp_path / "out", TEMPLATE)
    assert first.folder == tmp_path / "out" / "lists" / "sl" / "a.svs"
    assert second.folder == tmp_path / "out" / "others" / "x.svs"
