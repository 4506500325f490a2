"""Models by their cards, and tiles through them in the order of the plan."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.card import write_card
from models.errors import ModelError, WeightsError
from models.infer import Classifier, load_classifier, score_tiles
from models.painted import MeanChannelClassifier, painted_card
from tests.models.classifier_contract import SAME, ClassifierContract
from tests.models.small_models import make_rgb, write_model


class TestMeanChannel(ClassifierContract):
    @pytest.fixture(scope="class")
    @classmethod
    def classifier(cls) -> Classifier:
        return MeanChannelClassifier(painted_card(), batch_size=4)


def test_weights_other_than_the_cards_are_refused(tmp_path: Path):
    card_path = write_model(tmp_path)
    weights = tmp_path / "small.safetensors"
    weights.write_bytes(weights.read_bytes()[:-2] + b"\x00\x00")

    with pytest.raises(WeightsError, match="sha256"):
        load_classifier(card_path)


def test_a_wsinfer_folder_with_safetensors_needs_no_trust(tmp_path: Path):
    model = write_model(tmp_path / "ours")
    weights = model.with_suffix(".safetensors")
    (tmp_path / "model.safetensors").write_bytes(weights.read_bytes())
    normalize = {"mean": [0.8, 0.6, 0.7], "std": [0.1, 0.2, 0.2]}
    config = {
        "spec_version": "1.0",
        "architecture": "resnet18",
        "num_classes": 2,
        "class_names": ["non_idc", "idc"],
        "patch_size_pixels": 32,
        "spacing_um_px": 4,
        "transform": [{"name": "ToTensor"}, {"name": "Normalize", "arguments": normalize}],
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    rgb = make_rgb(3)

    prob = load_classifier(tmp_path, "cpu").predict(rgb)

    np.testing.assert_allclose(prob, load_classifier(model, "cpu").predict(rgb), rtol=0, atol=SAME)


def test_a_model_without_a_network_loads_by_its_card(tmp_path: Path):
    write_card(painted_card(tile_px=32, mpp=1.0), tmp_path / "painted.json")
    rgb = np.full((1, 32, 32, 3), 51, np.uint8)

    prob = load_classifier(tmp_path / "painted.json").predict(rgb)

    assert prob.tolist() == [[pytest.approx(0.8), pytest.approx(0.2)]]


@dataclass(frozen=True)
class Batch:
    rgb: NDArray[np.uint8]
    start: int


class Recorder(MeanChannelClassifier):
    """Keeps the sizes of the batches that it got."""

    def __init__(self, batch_size: int) -> None:
        super().__init__(painted_card(tile_px=32), batch_size=batch_size)
        self.sizes: list[int] = []

    def predict(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.sizes.append(len(rgb))
        return super().predict(rgb)


def painted_batches(*ranges: range) -> Iterator[Batch]:
    """Tile i has the value i; the buffer is overwritten when the next batch is asked for."""
    buffer = np.empty((max(map(len, ranges)), 32, 32, 3), np.uint8)
    for tiles in ranges:
        for row, i in enumerate(tiles):
            buffer[row] = i
        yield Batch(buffer[: len(tiles)], tiles.start)


def test_every_tile_gets_its_own_score_in_the_order_of_the_plan():
    ranges = range(3), range(3, 10), range(10, 11), range(11, 20)

    scored = list(score_tiles(Recorder(4), painted_batches(*ranges)))

    assert [batch.start for batch in scored] == [0, 4, 8, 12, 16]
    values = np.concatenate([batch.prob[:, 1] for batch in scored]) * 255
    np.testing.assert_allclose(values, range(20), atol=1e-4)


def test_small_batches_are_joined_to_what_the_classifier_likes():
    recorder = Recorder(8)

    list(score_tiles(recorder, painted_batches(*(range(i, i + 1) for i in range(20)))))

    assert recorder.sizes == [8, 8, 4]


def test_a_gap_in_the_plan_is_kept():
    scored = list(score_tiles(Recorder(8), painted_batches(range(5), range(40, 43))))

    assert [(batch.start, len(batch.prob)) for batch in scored] == [(0, 5), (40, 3)]
    np.testing.assert_allclose(scored[1].prob[:, 1] * 255, [40, 41, 42], atol=1e-4)


def test_no_tiles_give_no_scores():
    assert list(score_tiles(Recorder(8), [])) == []


def test_the_next_batch_is_read_while_one_is_in_the_network():
    read = threading.Event()

    class WaitsForReader(Recorder):
        def predict(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
            assert read.wait(30), "nobody read the second batch"
            return super().predict(rgb)

    def batches() -> Iterator[Batch]:
        first, second = painted_batches(range(4)), painted_batches(range(4, 8))
        yield next(first)
        read.set()
        yield next(second)

    assert len(list(score_tiles(WaitsForReader(4), batches()))) == 2


def test_an_error_in_the_network_reaches_the_caller():
    tiles = [Batch(np.zeros((2, 16, 16, 3), np.uint8), 0)]

    with pytest.raises(ModelError, match="takes uint8 tiles"):
        list(score_tiles(Recorder(4), tiles))


def test_stopping_early_leaves_no_thread_behind():
    before = set(threading.enumerate())
    scores = score_tiles(Recorder(4), painted_batches(range(20)))

    next(scores)
    scores.close()  # type: ignore[attr-defined]

    assert set(threading.enumerate()) <= before


def test_a_classifier_needs_nothing_but_its_protocol():
    def accepts(classifier: Classifier) -> Any:
        return classifier.card

    assert accepts(Recorder(1)).name == "mean-channel"
