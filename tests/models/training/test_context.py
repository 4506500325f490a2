"""The context stage is learned from slides that are nobody's test."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from models.card import read_card
from models.datasets import TileSet
from models.errors import DatasetError, ModelError
from models.registry import MODELS
from models.training.context import (
    MISSING,
    ContextConfig,
    SlideScores,
    add_context,
    fit_context,
    measure_slides,
)
from tests.models.labelled import make_tiles, write_packed
from tests.models.small_models import make_card, write_model

TRAINING, VALIDATION = "14082", "8913"  # complete, by models/splits/idc.json
CONFIG = ContextConfig(sigmas=(0.7, 1.4), radii=(1,), masks=3)


def make_slide(patient: str, seed: int, noise: float = 2.0) -> SlideScores:
    """20 by 24 tiles, the left third positive; logits of +1 and -1 under noise."""
    rng = np.random.default_rng(seed)
    label = np.zeros((20, 24), np.int64)
    label[:, :8] = 1
    return SlideScores(
        patient, 2.0 * label - 1 + rng.normal(0, noise, label.shape), label,
        rng.random(label.shape) < 0.9,
    )  # fmt: skip


def make_slides(count: int, first: int) -> list[SlideScores]:
    return [make_slide(str(first + i), first + i) for i in range(count)]


def test_what_a_network_says_at_random_is_mended_by_the_neighbours():
    context = fit_context(make_slides(3, 0), make_slides(2, 10), CONFIG)
    found = measure_slides(context, make_slides(3, 20))

    assert found["mean_raw_auc"] < 0.8
    assert found["mean_auc"] > 0.93


def test_the_figures_are_those_of_scikit_learn():
    slide = make_slide("20", 20)
    context = fit_context(make_slides(2, 0), make_slides(1, 10), CONFIG)
    prob = context.apply(slide.logit, slide.mask)[slide.mask]

    row = measure_slides(context, [slide])["slides"]["20"]

    assert row["tiles"] == slide.mask.sum()
    assert row["auc"] == pytest.approx(roc_auc_score(slide.labels, prob), abs=1e-4)
    raw = roc_auc_score(slide.labels, slide.logit[slide.mask])
    assert row["raw_auc"] == pytest.approx(raw, abs=1e-4)


def test_probabilities_come_true_as_often_as_they_say_on_validation():
    """A third of the tiles is positive, though the regression counts both classes alike."""
    validation = make_slides(3, 10)
    context = fit_context(make_slides(3, 0), validation, CONFIG)
    prob = np.concatenate([context.apply(s.logit, s.mask)[s.mask] for s in validation])
    label = np.concatenate([s.labels for s in validation])

    assert prob.mean() == pytest.approx(label.mean(), abs=0.01)


def test_a_large_slide_does_not_outvote_small_ones():
    """Ten times as many tiles on which the network is wrong throughout, against two slides."""
    parts = [make_slide("2", seed) for seed in range(20, 30)]
    large = SlideScores(
        "2",
        np.vstack([-part.logit for part in parts]),
        np.vstack([part.label for part in parts]),
        np.vstack([part.mask for part in parts]),
    )

    context = fit_context([*make_slides(2, 0), large], make_slides(1, 10), CONFIG)

    assert sum(context.weights) > 0


def test_slides_that_are_ranked_backwards_are_refused():
    wrong = make_slide("10", 10)
    with pytest.raises(DatasetError, match="ranks the validation slides backwards"):
        fit_context(make_slides(2, 0), [replace(wrong, logit=-wrong.logit)], CONFIG)


@pytest.mark.parametrize("missing", MISSING)
def test_simulated_gaps_leave_some_tissue_and_take_some(missing: object):
    mask = make_slide("0", 0).mask
    shares = [
        (missing(mask, np.random.default_rng(i)) & mask).sum() / mask.sum()  # type: ignore[operator]
        for i in range(10)
    ]
    assert 0.2 < np.mean(shares) < 0.95


def test_the_same_slides_give_the_same_stage():
    found = [fit_context(make_slides(2, 0), make_slides(1, 10), CONFIG) for _ in range(2)]
    assert found[0].to_json() == found[1].to_json()


def test_a_slide_on_both_sides_is_refused():
    with pytest.raises(DatasetError, match=r"slide 2 is among those to fit .* and .* validate"):
        fit_context(make_slides(3, 0), make_slides(2, 2), CONFIG)


def test_a_slide_of_one_class_is_refused():
    healthy = replace(make_slide("0", 0), label=np.zeros((20, 24), np.int64))
    with pytest.raises(DatasetError, match="tiles of slide 0 are of one class"):
        fit_context([healthy], make_slides(1, 10), CONFIG)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "tiny", "tests.models.labelled:build_tiny")


def make_model(folder: Path, tile_px: int = 50) -> Path:
    card = make_card(architecture="tiny", tile_px=tile_px, input_px=tile_px)
    return write_model(folder, card)


def make_data(folder: Path, patients: tuple[str, ...] = (TRAINING, VALIDATION)) -> Path:
    return write_packed(make_tiles(patients, complete=patients), folder)


def test_a_model_gets_the_stage_and_keeps_the_rest(tmp_path: Path):
    model, data = make_model(tmp_path / "model"), make_data(tmp_path / "data")
    seen: list[tuple[int, int]] = []

    made = add_context(
        model, data, tmp_path / "out", device="cpu", progress=lambda *now: seen.append(now)
    )

    card, before = read_card(made), read_card(model)
    assert card.context is not None
    assert replace(card, context=None) == before
    assert (
        made.with_name("small.safetensors").read_bytes()
        == model.with_name("small.safetensors").read_bytes()
    )
    assert seen == [(8, 16), (16, 16)]
    assert card.context.weights_sha256 == before.weights_sha256
    assert card.context.training_data.startswith("1 complete slides")
    assert card.context.metrics["field_um"] == 19 * 50 * 4.0
    assert list(card.context.metrics["validation"]["slides"]) == [VALIDATION]


def test_a_model_gets_it_in_its_own_folder_too(tmp_path: Path):
    model, data = make_model(tmp_path / "model"), make_data(tmp_path / "data")

    made = add_context(model, data, model.parent, device="cpu")

    assert made == model
    assert read_card(made).context is not None


def test_slides_of_one_part_only_are_refused(tmp_path: Path):
    model, data = make_model(tmp_path / "model"), make_data(tmp_path / "data", (TRAINING,))
    with pytest.raises(DatasetError, match="no complete slide of the part validation"):
        add_context(model, data, tmp_path / "out", device="cpu")


def test_a_tile_on_two_sides_is_refused(tmp_path: Path):
    tiles = make_tiles((TRAINING, VALIDATION), complete=(TRAINING, VALIDATION))
    rgb = tiles.rgb.copy()
    rgb[-1] = rgb[0]
    shared = TileSet(rgb, tiles.label, tiles.patient, tiles.xy, tiles.complete)
    data = write_packed(shared, tmp_path / "data")
    with pytest.raises(DatasetError, match="are identical tiles"):
        add_context(make_model(tmp_path / "model"), data, tmp_path / "out", device="cpu")


def test_a_model_of_other_tiles_is_refused(tmp_path: Path):
    model = make_model(tmp_path / "model", tile_px=32)
    with pytest.raises(ModelError, match="take 50 px tiles"):
        add_context(model, make_data(tmp_path / "data"), tmp_path / "out", device="cpu")
