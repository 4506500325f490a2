"""Room that is promised to a result."""

from pathlib import Path

from models.registry import resolve_model
from service.pipeline import run_request
from service.request import HeatmapRequest
from service.submission import ALWAYS, CHOICES
from service.worker.room import BASE_BYTES, result_bytes
from tests.service.painted import write_model
from tests.service.worker.workshop import make_slide
from wsi.readers import open_slide


def test_no_result_takes_more_than_it_was_promised(tmp_path: Path) -> None:
    """4,096 cells of tissue, with every output there is."""
    model = write_model(tmp_path / "model", 16, 0.5)
    slide = make_slide(tmp_path / "slide.tiff", tiles=64)
    request = HeatmapRequest(slide=str(slide), model=model, mask="none", formats=ALWAYS + CHOICES)
    folder = run_request(request, tmp_path / "out").folder
    taken = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    with open_slide(slide) as opened:
        promised = result_bytes(opened.info, request, resolve_model(model).card)
    assert taken < promised
    assert promised == BASE_BYTES + 64 * 64 * (600 + 6 * 4 * 2)
