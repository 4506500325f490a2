"""A job warns where a slide looks unlike what its model learned from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.appearance import Appearance
from models.card import write_card
from models.painted import painted_card
from service.pipeline import run_request
from service.request import HeatmapRequest
from tests.service.painted import write_slide
from wsi.errors import SlideTooCoarse

PINK = (230, 150, 190)
APPEARANCE = Appearance(
    mean=tuple(np.log(-np.log10((np.array(PINK) + 1) / 256)).tolist()),
    covariance=((0.01, 0.0, 0.0), (0.0, 0.01, 0.0), (0.0, 0.0, 0.01)),
    limit=3.0,
    low=(0.03, 0.2, 0.1),
    high=(0.06, 0.3, 0.2),
    patients=100,
    mpp=(4.0, 4.0),
)


def make_model(folder: Path, tile_px: int = 16, mpp: float = 4.0) -> str:
    folder.mkdir()
    card = replace(painted_card(tile_px, mpp), appearance=APPEARANCE)
    write_card(card, folder / "card.json")
    return str(folder)


def warnings_of(tmp_path: Path, colour: tuple[int, ...], mpp: float = 1.0, **options: bool) -> str:
    """What a run says of a slide with tissue of one colour on glass."""
    rgb = np.full((512, 512, 3), 255, np.uint8)
    rgb[100:400, 130:420] = colour
    slide = write_slide(tmp_path / "slide.tiff", [rgb], mpp)
    request = HeatmapRequest(slide=str(slide), model=make_model(tmp_path / "m"), **options)
    result = run_request(request, tmp_path / "out")
    page = (result.folder / "report.html").read_text()
    warnings: list[str] = result.manifest["warnings"]
    assert all(warning[:40] in page for warning in warnings)
    return " ".join(warnings)


def test_a_slide_like_those_of_training_is_no_cause_for_a_warning(tmp_path: Path) -> None:
    assert warnings_of(tmp_path, PINK) == ""


def test_another_colour_is_warned_of_in_the_record_and_the_report(tmp_path: Path) -> None:
    found = warnings_of(tmp_path, (230, 190, 150))
    assert "the colours are unlike those that mean-channel learned from" in found


def test_a_slide_that_is_enlarged_is_warned_of(tmp_path: Path) -> None:
    with pytest.raises(SlideTooCoarse):
        warnings_of(tmp_path, PINK, 6.0)
    (tmp_path / "m" / "card.json").unlink()
    (tmp_path / "m").rmdir()
    found = warnings_of(tmp_path, PINK, 6.0, upsample=True)
    assert "level 0 has 6 um/px, but mean-channel learned from 4 um/px at most" in found


def test_a_slide_without_tissue_is_not_judged(tmp_path: Path) -> None:
    assert "unlike" not in warnings_of(tmp_path, (255, 255, 255))
