"""What somebody asks for, before a slide is opened."""

from pathlib import Path

import pytest

from service.errors import InvalidRequest
from service.request import HeatmapRequest


def test_name_of_a_result_holds_no_secret_of_an_address() -> None:
    signed = "https://user:secret@host/slides/x.svs?signature=secret"
    assert HeatmapRequest(slide=signed).name == "x.svs"
    assert HeatmapRequest(slide="a/folder of dicom/").name == "folder of dicom"


def test_folder_named_by_dots_gives_its_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "series" / "part").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "series" / "part")
    names = [HeatmapRequest(slide=slide).name for slide in (".", "..", "../", "./")]
    assert names == ["part", "series", "series", "part"]


def test_a_precision_that_is_none_is_refused_before_any_work() -> None:
    with pytest.raises(InvalidRequest, match="precision 'int4': use one of auto, float32"):
        HeatmapRequest(slide="a.svs", precision="int4")
