"""A model whose answer anybody can read off the pixels: it proves that a heatmap lies right."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.calibration import calibrated
from models.card import ModelCard

__all__ = ["MeanChannelClassifier", "painted_card"]


class MeanChannelClassifier:
    """Probability of `positive_class`: the mean of one channel / 255; the others share the rest.

    On a slide painted with known values the heatmap must equal them, cell by cell.
    """

    device = "cpu, exact"

    def __init__(self, card: ModelCard, channel: int = 0, batch_size: int = 64) -> None:
        self.card = card
        self.channel = channel
        self.batch_size = batch_size

    def predict(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        return calibrated(self.card, self.predict_raw(rgb))

    def predict_raw(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.card.require_tiles(rgb)
        positive = rgb[..., self.channel].mean((1, 2), dtype=np.float64) / 255
        others = max(1, len(self.card.classes) - 1)
        prob = np.repeat((1 - positive)[:, None] / others, len(self.card.classes), 1)
        prob[:, self.card.positive_index] = positive
        return prob.astype(np.float32)

    def close(self) -> None:
        pass


def painted_card(tile_px: int = 50, mpp: float = 4.0) -> ModelCard:
    """Written to a file, it is a model that the command line takes, without weights."""
    return ModelCard(
        name="mean-channel",
        architecture="mean-channel",
        classes=("rest", "painted"),
        positive_class="painted",
        tile_px=tile_px,
        mpp=mpp,
        input_px=tile_px,
        licence="Apache-2.0",
        training_data="none",
        intended_use="Tests of geometry",
    )
