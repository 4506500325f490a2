"""`make demo`: the pictures are where it says."""

from pathlib import Path

import pytest

from service.demo import demonstrate
from wsi.phantom import draw_phantom


def test_demo_says_where_the_pictures_are_and_how_long_it_took(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_phantom(tmp_path / "phantom.tiff", size_px=2000, mpp=1.0)
    demonstrate(tmp_path)
    shown = capsys.readouterr().out
    folder = tmp_path / "heatmaps" / "phantom.tiff"
    for name in ("overlay.png", "heatmap.png", "report.html"):
        assert (folder / name).is_file()
        assert str(folder / name) in shown
    for stage in ("mask", "score", "assemble", "export"):
        assert f"  {stage} " in shown
