"""Heatmaps of slides against labels, counted by hand."""

import json

import numpy as np
import pytest

from models.errors import DatasetError
from models.evaluation.curves import draw_slides
from models.evaluation.slides import ScoredSlide, evaluate_slides

NONE = np.nan
Cells = list[list[float]]
LABELS: Cells = [[1, 0, NONE], [0, 1, 0]]
SCORES: Cells = [[0.9, 0.2, 0.7], [0.4, 0.3, NONE]]


def make_slide(
    patient: str = "1", threshold: float = 0.5, truth: Cells = LABELS, prob: Cells = SCORES
) -> ScoredSlide:
    """Two labelled positives, one of which is found; one cell has no label, one no score."""
    return ScoredSlide(patient, np.array(truth, np.float32), np.array(prob, np.float32), threshold)


def test_tiles_are_ranked_where_they_are_labelled_and_scored():
    """Positives 0.9 and 0.3, negatives 0.2 and 0.4: three of four pairs in order."""
    (row,) = evaluate_slides("m", [make_slide()]).rows()
    assert (row["labelled"], row["scored"], row["positives"]) == (5, 4, 2)
    assert row["auc"] == pytest.approx(3 / 4)
    assert row["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert row["dice"] == pytest.approx(2 / 3)
    assert row["iou"] == pytest.approx(1 / 2)


def test_a_slide_of_one_class_has_no_auc_and_counts_in_no_mean():
    healthy = make_slide("2", truth=[[0, 0]], prob=[[0.1, 0.2]])
    found = evaluate_slides("m", [make_slide(), healthy])
    assert found.rows()[1]["auc"] is None
    assert found.means()["auc"] == pytest.approx(3 / 4)
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert record["froc"]["slides"] == 2
    assert "–" in found.to_text()


def test_regions_are_counted_over_all_slides():
    """Of four true regions two are found, before anything false."""
    apart = [[1, 0, 0, 1]]
    slides = [make_slide(str(i), truth=apart, prob=[[0.9, 0.1, 0.1, 0.2]]) for i in range(2)]
    found = evaluate_slides("m", slides)
    assert found.froc.regions == 4
    assert found.froc.score == pytest.approx(0.5)


@pytest.mark.parametrize("slides", [[], [make_slide(threshold=0.4), make_slide(threshold=0.5)]])
def test_slides_need_one_threshold(slides: list[ScoredSlide]):
    with pytest.raises(DatasetError, match="one threshold"):
        evaluate_slides("m", slides)


def test_the_picture_has_a_column_a_slide_up_to_five():
    from io import BytesIO

    from PIL import Image

    widths = [Image.open(BytesIO(draw_slides([make_slide()] * n))).size for n in (1, 5, 6)]
    assert widths[0][0] < widths[1][0] == widths[2][0]
    assert widths[1][1] < widths[2][1]
