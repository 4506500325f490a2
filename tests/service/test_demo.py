"""The demonstration, on a slide of one's own."""

from pathlib import Path

import numpy as np
import pytest

from service.demo import demonstrate, main
from tests.service.painted import write_slide
from wsi.phantom import draw_phantom


def test_demo_says_where_the_pictures_are_and_how_long_it_took(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rgb = np.full((800, 1200, 3), (190, 110, 170), np.uint8)  # 2 x 3 tiles of 400 px
    rgb[::7] = (120, 60, 140)
    slide = write_slide(tmp_path / "slide.tiff", [rgb], 0.5)
    main(["--out", str(tmp_path / "out"), "--slide", str(slide)])
    shown = capsys.readouterr().out
    assert "slide.tiff: " in shown
    for name in ("overlay.png", "heatmap.png", "report.html"):
        assert str(tmp_path / "out" / "heatmaps" / "slide.tiff" / name) in shown
        assert (tmp_path / "out" / "heatmaps" / "slide.tiff" / name).is_file()
    assert all(stage in shown for stage in ("mask", "assemble", "export", "whole job"))


def test_demo_of_no_slide_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--out", str(tmp_path), "--slide", "nowhere.svs"])
    assert left.value.code == 1
    assert capsys.readouterr().err.startswith("error: nowhere.svs")


def test_demo_uses_the_phantom_that_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_phantom(tmp_path / "phantom.tiff", size_px=2000, mpp=1.0)
    demonstrate(tmp_path)
    assert "draw" not in capsys.readouterr().out
    assert (tmp_path / "heatmaps" / "phantom.tiff" / "overlay.png").is_file()
