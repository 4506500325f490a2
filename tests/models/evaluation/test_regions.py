"""A heatmap against the truth of a slide, with cells that can be counted by hand."""

import numpy as np
import pytest

from models.evaluation.regions import FROC_AT, free_response, overlap

NONE = np.nan


def test_overlap_counts_labelled_cells_only():
    """True 2 cells, found 3 of which 1 is true and 1 has no label."""
    truth = np.array([[1, 1, 0, NONE]])
    prob = np.array([[0.9, 0.1, 0.8, 0.9]])
    found = overlap(truth, prob, 0.5)
    assert found.dice == pytest.approx(2 * 1 / (2 + 2))
    assert found.iou == pytest.approx(1 / 3)
    assert (found.cells, found.unscored) == (3, 0)


def test_what_the_mask_left_out_is_missed():
    truth, prob = np.array([[1, 1, 0]]), np.array([[0.9, NONE, NONE]])
    found = overlap(truth, prob, 0.5)
    assert found.dice == pytest.approx(2 / 3)
    assert (found.unscored, found.unscored_positive) == (2, 1)


def test_a_slide_without_tumour_where_nothing_is_found_has_no_dice():
    assert np.isnan(overlap(np.zeros((2, 2)), np.zeros((2, 2)), 0.5).dice)


def make_slide():
    """Two true regions; one is found at 0.9, one is missed, and one false region has 0.7."""
    truth, prob = np.zeros((5, 9)), np.zeros((5, 9))
    truth[0, 0] = truth[1, 1] = 1  # touch at a corner: one region
    truth[4, 8] = 1
    prob[1, 1], prob[3, 4] = 0.9, 0.7
    return truth, prob


def test_sensitivity_is_read_at_false_regions_a_slide():
    found = free_response([make_slide()], 0.5)
    assert found.regions == 2
    assert found.false_a_slide.tolist() == [0, 1]
    assert found.sensitivity.tolist() == [0.5, 0.5]
    assert found.at == dict.fromkeys(FROC_AT, 0.5)
    assert found.score == 0.5


def test_a_better_score_of_the_false_region_costs_sensitivity_at_few_of_them():
    truth, prob = make_slide()
    prob[3, 4] = 0.95
    found = free_response([(truth, prob)], 0.5)
    assert (found.at[0.25], found.at[0.5], found.at[1.0]) == (0.0, 0.0, 0.5)


def test_false_regions_are_a_mean_over_slides():
    clean = np.zeros((5, 9)), np.zeros((5, 9))
    truth, prob = make_slide()
    prob[3, 4] = 0.95
    found = free_response([(truth, prob), clean], 0.5)
    assert (found.at[0.25], found.at[0.5]) == (0.0, 0.5)


def test_a_candidate_where_nobody_labelled_is_not_false():
    truth, prob = make_slide()
    truth[3, 4] = NONE
    assert free_response([(truth, prob)], 0.5).false_a_slide.tolist() == [0]


def test_no_candidate_at_all_finds_nothing():
    found = free_response([(np.ones((2, 2)), np.zeros((2, 2)))], 0.5)
    assert (found.score, found.regions) == (0.0, 1)
