"""The page a slide: complete, self-contained, and safe whatever a name holds."""

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.wsi.export.sources import make_info, make_source
from wsi.export.histogram import BINS, count_bins, draw_histogram
from wsi.export.report import write
from wsi.geometry import Box, Mpp, Scale, Size
from wsi.overview import Overview
from wsi.render import Style
from wsi.slide import SlideInfo

HOSTILE = '<script>alert("x")</script>\u202egnp.svs'


class Page(HTMLParser):
    """Elements with their attributes, and all text outside of style."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))


def make_page(folder: Path, **options: Any) -> tuple[str, Page]:
    html = write(make_source(**options), folder / "report.html").read_text("utf-8")
    page = Page(html)
    assert page.open == []  # every element is closed
    return html, page


def make_overview() -> Overview:
    return Overview(np.full((150, 200, 3), 222, np.uint8), 4.0, Scale(16.0, 16.0))


def rename(name: str) -> SlideInfo:
    fields = vars(make_info(Size(3200, 2400), Mpp(0.25, 0.25)))
    return SlideInfo(**(fields | {"path": name}))


def test_the_page_shows_the_figures_of_the_slide(tmp_path: Path) -> None:
    """Scores 1/16 to 11/16 on 200 um tiles: four of eleven, in one row, at or above 0.5."""
    _, page = make_page(tmp_path, overview=make_overview())
    assert "36.4 % of the scored tissue" in page.text
    assert "Regions 1, together 0.16 mm²" in page.text
    assert "1 0.16 mm² 0.594 0.688 2800, 2000 0, 1600, 3200, 800" in page.text
    assert "11 tiles, 4 of them at or above the threshold 0.5" in page.text
    assert "Research use only" in page.text


def test_the_page_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    html, page = make_page(tmp_path, overview=make_overview())
    sources = [a["src"] for _, a in page.elements if "src" in a]
    assert len(sources) == 1
    assert sources[0].startswith("data:image/jpeg;base64,")
    with Image.open(io.BytesIO(base64.b64decode(sources[0].split(",")[1]))) as picture:
        picture.load()
    assert not [
        tag for tag, a in page.elements if tag in ("script", "link", "iframe") or "href" in a
    ]
    assert "url(" not in html
    assert "@import" not in html
    (policy,) = [a["content"] for _, a in page.elements if "http-equiv" in a]
    assert policy.startswith("default-src 'none'")


def test_names_warnings_and_provenance_are_text_not_markup(tmp_path: Path) -> None:
    html, page = make_page(
        tmp_path,
        slide=rename(HOSTILE.replace("/", "\\")),
        model=HOSTILE,
        classes=("b", HOSTILE),
        positive_class=HOSTILE,
        overview=make_overview(),
        warnings=(HOSTILE,),
        provenance={HOSTILE: {"deep": [HOSTILE, {HOSTILE: HOSTILE}]}},
    )
    tags = {tag for tag, _ in page.elements}
    assert "script" not in tags
    assert not [a for _, attributes in page.elements for a in attributes if a.startswith("on")]
    assert page.text.count('<script>alert("x")</script>□gnp.svs') >= 6
    assert "\u202e" not in html


def test_warnings_of_slide_and_mask_are_shown_once(tmp_path: Path) -> None:
    _, page = make_page(tmp_path, warnings=("blurred", "pen marks", "blurred"))
    assert page.text.count("blurred") == 1
    assert page.text.count("pen marks") == 1


def test_provenance_is_shown_whole(tmp_path: Path) -> None:
    provenance = {
        "model": {"sha256": "c" * 64, "metrics": {"auc": 0.9312, "auc_95": [0.91, 0.95]}},
        "parameters": {"stride_px": 50, "mask": None, "regions": []},
    }
    _, page = make_page(tmp_path, provenance=provenance)
    for text in ("c" * 64, "auc 0.9312", "0.91, 0.95", "stride_px 50", "mask none", "regions none"):
        assert text in page.text


def test_no_tissue_is_said_first_and_shows_no_figures(tmp_path: Path) -> None:
    tissue = np.zeros((75, 100), bool)
    _, page = make_page(tmp_path, indices=[], tissue=tissue, overview=make_overview())
    assert "No tissue was found." in page.text
    assert "Largest regions" not in page.text
    assert "svg" not in {tag for tag, _ in page.elements}
    _, page = make_page(tmp_path, indices=[])
    assert "No tile holds enough tissue." in page.text


def test_a_page_without_overview_has_no_picture(tmp_path: Path) -> None:
    _, page = make_page(tmp_path)
    assert "img" not in {tag for tag, _ in page.elements}
    assert "Overlay" not in page.text


def test_positions_are_of_the_whole_slide_although_the_picture_is_cropped(tmp_path: Path) -> None:
    _, page = make_page(
        tmp_path,
        bounds=Box(800, 400, 1600, 1600),
        indices=[(0, 0)],
        prob=[[0.0, 1.0]],
        overview=make_overview(),
    )
    assert "1200, 800 800, 400, 800, 800" in page.text


def test_the_histogram_counts_every_tile_once() -> None:
    prob = np.array([0, 0.019, 0.021, 0.5, 0.999, 1], np.float32)
    counts = count_bins(prob)
    assert counts.sum() == 6
    assert [counts[0], counts[1], counts[25], counts[49]] == [2, 1, 1, 2]


@pytest.mark.parametrize(("tiles", "top"), [(1, "1"), (37, "40"), (600, "600"), (6001, "8,000")])
def test_the_histograms_axis_ends_at_a_round_number(tiles: int, top: str) -> None:
    svg = draw_histogram(np.full(tiles, 0.3, np.float32), 0.5, Style())
    heights = [float(h) for h in re.findall(r'height="([\d.]+)" fill=', svg)]
    assert f">{top}</text>" in svg
    assert heights == [pytest.approx(180 * tiles / int(top.replace(",", "")), abs=0.1)]
    assert len(heights) <= BINS
