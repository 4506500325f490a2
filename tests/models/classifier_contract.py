"""What every classifier keeps to: inherit, and give a fixture `classifier`."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from models.errors import ModelError
from models.infer import Classifier

SAME = 1e-5  # most that a probability may depend on the batch that its tile is in


class ClassifierContract:
    @pytest.fixture
    def classifier(self) -> Classifier:
        raise NotImplementedError

    def tiles(self, classifier: Classifier, n: int) -> NDArray[np.uint8]:
        side = classifier.card.tile_px
        return np.random.default_rng(n).integers(0, 256, (n, side, side, 3), np.uint8)

    def test_answers_a_probability_for_each_tile_and_class(self, classifier: Classifier):
        prob = classifier.predict(self.tiles(classifier, 3))

        assert prob.shape == (3, len(classifier.card.classes))
        assert prob.dtype == np.float32
        assert ((prob >= 0) & (prob <= 1)).all()

    def test_probabilities_of_exclusive_classes_sum_to_one(self, classifier: Classifier):
        if classifier.card.activation == "softmax":
            prob = classifier.predict(self.tiles(classifier, 3))

            np.testing.assert_allclose(prob.sum(1), 1, atol=1e-5)

    def test_answers_no_tiles_with_no_rows(self, classifier: Classifier):
        prob = classifier.predict(self.tiles(classifier, 0))

        assert prob.shape == (0, len(classifier.card.classes))
        assert prob.dtype == np.float32

    def test_tells_different_tiles_apart(self, classifier: Classifier):
        side = classifier.card.tile_px
        levels = np.array([20, 230], np.uint8)[:, None, None, None]

        dark, bright = classifier.predict(np.broadcast_to(levels, (2, side, side, 3)))

        assert np.abs(dark - bright).max() > 100 * SAME

    def test_a_tile_scores_the_same_alone_and_in_any_batch(self, classifier: Classifier):
        rgb = self.tiles(classifier, classifier.batch_size + 2)
        together = classifier.predict(rgb)

        for i in (0, classifier.batch_size - 1, len(rgb) - 1):
            np.testing.assert_allclose(
                classifier.predict(rgb[i : i + 1])[0], together[i], rtol=0, atol=SAME
            )

    def test_keeps_the_order_of_the_tiles(self, classifier: Classifier):
        rgb = self.tiles(classifier, 5)

        backwards = classifier.predict(rgb[::-1])

        np.testing.assert_allclose(backwards[::-1], classifier.predict(rgb), rtol=0, atol=SAME)

    def test_the_same_call_twice_gives_the_same_bits(self, classifier: Classifier):
        rgb = self.tiles(classifier, 4)

        np.testing.assert_array_equal(classifier.predict(rgb), classifier.predict(rgb))

    def test_takes_tiles_that_it_may_not_write_and_leaves_them_alone(self, classifier: Classifier):
        rgb = self.tiles(classifier, 2)
        before = rgb.copy()
        rgb.flags.writeable = False

        classifier.predict(rgb)

        np.testing.assert_array_equal(rgb, before)

    def test_works_in_another_thread(self, classifier: Classifier):
        rgb = self.tiles(classifier, 2)
        with ThreadPoolExecutor(1) as pool:
            elsewhere = pool.submit(classifier.predict, rgb).result()

        np.testing.assert_allclose(elsewhere, classifier.predict(rgb), rtol=0, atol=SAME)

    @pytest.mark.parametrize("wrong", ["side", "dtype", "channels"])
    def test_refuses_tiles_that_its_card_does_not_name(self, classifier: Classifier, wrong: str):
        rgb = self.tiles(classifier, 2)
        given = {
            "side": rgb[:, 1:, 1:],
            "dtype": rgb.astype(np.float32) / 255,
            "channels": rgb[..., :1],
        }[wrong]

        with pytest.raises(ModelError, match=classifier.card.name):
            classifier.predict(given)

    def test_says_where_it_computes_and_how_many_tiles_it_likes(self, classifier: Classifier):
        assert classifier.device
        assert classifier.batch_size >= 1
