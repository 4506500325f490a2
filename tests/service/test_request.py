"""What somebody asks for, before a slide is opened."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from service.errors import InvalidRequest
from service.request import MASK_FRAMES, HeatmapRequest
from wsi.user_mask import Frame


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


def test_address_is_shown_without_its_secrets_and_all_else_as_it_is() -> None:
    request = HeatmapRequest(slide="https://user:secret@host/x.svs?signature=secret", mpp=0.5)
    assert repr(request) == repr(HeatmapRequest(slide="https://host/x.svs", mpp=0.5))
    assert repr(request).startswith("HeatmapRequest(slide='https://host/x.svs', model='idc-resnet")
    assert "mpp=0.5" in repr(request)
    assert "secret" in request.slide


def test_frame_of_a_mask_is_refused_where_it_is_none() -> None:
    with pytest.raises(InvalidRequest, match="mask frame 'level1': use one of qupath, level0"):
        HeatmapRequest(slide="a.svs", mask_frame="level1")


def test_frames_are_those_of_the_mask() -> None:
    assert get_args(Frame) == MASK_FRAMES


def test_frame_counts_only_where_somebody_states_it_for_a_geojson(tmp_path: Path) -> None:
    masks = [tmp_path / "a.geojson", tmp_path / "a.png"]
    for mask in masks:
        mask.write_text("{}")
    for mask in ("saturation", *masks):
        asked = HeatmapRequest(slide="a.svs", mask=str(mask))
        stated = replace(asked, mask_frame="level0")
        assert "mask_frame" not in asked.parameters()
        assert (stated.parameters() != asked.parameters()) == (mask == masks[0])
    regions = HeatmapRequest(slide="a.svs", mask=str(masks[0]), mask_frame="level0")
    assert regions.parameters()["mask_frame"] == "level0"
