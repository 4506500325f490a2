"""Whether a slide looks like those that the model learned from."""

import numpy as np
from numpy.typing import NDArray

from models.appearance import look_of
from models.card import ModelCard
from service.tissue import Prepared
from wsi.overview import Overview
from wsi.slide import SlideInfo, require_mpp
from wsi.tiler import TilePlan

__all__ = ["unlike_training"]

MOST_TILES = 1000  # evenly out of all: some milliseconds


def unlike_training(card: ModelCard, info: SlideInfo, prepared: Prepared) -> tuple[str, ...]:
    """Warnings, for people: of colours and of scale. None where the card does not know what the
    model learned from. The tiles are looked at on the overview that tissue was found on: no pixel
    is read for it, and a run that was resumed says the same."""
    if card.appearance is None or not len(prepared.plan):
        return ()
    look = look_of(_pixels(prepared.overview, prepared.plan))
    found = (
        card.appearance.complaint_of_scale(require_mpp(info), card.name),
        card.appearance.complaint(look, card.name),
    )
    return tuple(sentence for sentence in found if sentence)


def _pixels(overview: Overview, plan: TilePlan) -> NDArray[np.uint8]:
    """Of the overview below the tiles, (n, 3)."""
    grid, px0 = plan.grid, overview.px0
    width, height = (max(1, round(tile0 / px)) for tile0, px in zip(grid.tile0, px0, strict=True))
    chosen = plan.xy0[:: -(-len(plan) // MOST_TILES)]
    boxes = (chosen / px0).round().astype(np.int64).clip(0).tolist()
    parts = [overview.rgb[y : y + height, x : x + width].reshape(-1, 3) for x, y in boxes]
    return np.concatenate(parts)
