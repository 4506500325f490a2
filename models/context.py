"""A second look at each tile, with its neighbours: a probability from the scores around it.

No network and no torch: what a model's card holds of it are a dozen numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.errors import CardError

if TYPE_CHECKING:
    from models.card import ModelCard
    from wsi.grid import TileGrid

__all__ = [
    "CONTEXT",
    "Context",
    "context_by_tile",
    "describe_cells",
    "logit_from_prob",
    "why_no_context",
]

CONTEXT = "context"
"""The name of a heatmap's channel, as wsi.channels.CHANNELS has it."""

LARGEST_LOGIT = (
    8.0  # a network that is surer of one tile than this shall not outvote its neighbours
)
REACH_SIGMAS = 3
LARGEST_REACH = 64  # cells; a card is a file of somebody's

Float64Array = NDArray[np.float64]


@dataclass(frozen=True)
class Context:
    """Logistic regression on what the network says of a tile and of those around it.

    Cells are tiles side by side. A cell's features are describe_cells(); each has a weight.
    sigmas, in cells, and radii, in cells: of describe_cells(). threshold: on the probability.
    weights_sha256: of the network's weights on whose answers it was fitted. training_data: a
    sentence. metrics: JSON, free of form. Raises CardError.
    """

    sigmas: tuple[float, ...]
    radii: tuple[int, ...]
    weights: tuple[float, ...]
    bias: float
    threshold: float
    weights_sha256: str | None = None
    training_data: str = "not stated"
    metrics: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        largest = LARGEST_REACH / REACH_SIGMAS
        if not _rise(self.sigmas, largest) or not _rise(self.radii, LARGEST_REACH):
            raise CardError(
                f"context has sigmas {self.sigmas} and radii {self.radii} in cells; each list "
                f"rises from above 0 to at most {largest:.1f} and {LARGEST_REACH}"
            )
        if len(self.weights) != 1 + len(self.sigmas) + 2 * len(self.radii):
            raise CardError(
                f"context has {len(self.weights)} weights; it needs one for the tile, "
                f"{len(self.sigmas)} for the sigmas and twice {len(self.radii)} for the radii"
            )
        if not np.isfinite([*self.weights, self.bias]).all() or not 0 < self.threshold < 1:
            raise CardError(
                f"context has weights {self.weights}, bias {self.bias} and threshold "
                f"{self.threshold}; these are numbers, the last one between 0 and 1"
            )

    def require_weights(self, sha256: str | None) -> None:
        """Raises CardError where it was fitted on the answers of other weights than these."""
        if self.weights_sha256 not in (None, sha256):
            raise CardError(
                f"the context stage was fitted for weights with sha256 {self.weights_sha256}, but "
                f"the card's have {sha256}; fit it again with `wsi models context`"
            )

    @property
    def reach(self) -> int:
        """Cells that are looked at on each side of a tile."""
        return _reach(self.sigmas, self.radii)

    def apply(self, logit: NDArray[np.floating], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Probabilities of a grid without overlap, float32 (rows, columns), NaN outside the mask.

        logit: (rows, columns), log odds of the positive class before calibration. mask: (rows,
        columns), where there is one; other cells count as unknown, not as negative, and so does
        everything outside the grid.
        """
        features = describe_cells(logit, mask, self.sigmas, self.radii)
        prob = np.full(mask.shape, np.nan, np.float32)
        prob[mask] = _sigmoid(features @ np.array(self.weights) + self.bias)
        return prob

    def apply_to_tiles(
        self, raw: NDArray[np.floating], indices: NDArray[np.integer[Any]], step: int = 1
    ) -> NDArray[np.float32]:
        """As apply(), of tiles in any order: float32 (n,).

        raw: (n,), the positive class's probability before calibration. indices: (n, 2), row and
        column in the tiles' grid. step: strides in a tile's side. Overlapping tiles are step * step
        grids without overlap, each of which is looked at by itself.
        """
        logit = logit_from_prob(raw)
        prob = np.empty(len(raw), np.float32)
        for members in _lattices(indices, step):
            place = tuple((indices[members] // step - (indices[members] // step).min(0)).T)
            shape = [int(axis.max()) + 1 for axis in place]
            grid, mask = np.zeros(shape), np.zeros(shape, bool)
            grid[place], mask[place] = logit[members], True
            prob[members] = self.apply(grid, mask)[place]
        return prob

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"metrics": dict(self.metrics)}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Context:
        """Raises CardError."""
        try:
            return cls(
                **dict(fields)
                | {
                    "sigmas": tuple(map(float, fields["sigmas"])),
                    "radii": tuple(map(int, fields["radii"])),
                    "weights": tuple(map(float, fields["weights"])),
                    "bias": float(fields["bias"]),
                    "threshold": float(fields["threshold"]),
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CardError(f"context is {fields!r:.200}, which is none ({error!r})") from error


def context_by_tile(
    card: ModelCard,
    grid: TileGrid,
    indices: NDArray[np.integer[Any]],
    prob: NDArray[np.float32],
    channels: Mapping[str, NDArray[np.float32]],
) -> dict[str, NDArray[np.float32]]:
    """The channel of the tiles at `indices` (n, 2: row, column) by its name; {} without one.

    prob: (n, classes), the card's probabilities. channels: by name, (n,), `raw` among them where
    the card calibrates.
    """
    if card.context is None or why_no_context(card, grid):
        return {}
    raw = channels.get("raw", prob[:, card.positive_index])
    step = grid.tile_px // grid.stride_px
    return {CONTEXT: card.context.apply_to_tiles(raw, indices, step)}


def why_no_context(card: ModelCard, grid: TileGrid) -> str | None:
    """A sentence where the card has the stage, but the grid no tiles side by side."""
    if card.context is None or grid.tile_px % grid.stride_px == 0:
        return None
    return (
        f"no channel {CONTEXT!r}: a stride of {grid.stride_px} px does not divide the tile's "
        f"{grid.tile_px} px, so no tiles lie side by side; leave the stride out, or use a divisor"
    )


def logit_from_prob(prob: NDArray[np.floating]) -> Float64Array:
    """Log odds, kept within LARGEST_LOGIT on both sides."""
    least = float(_sigmoid(np.array(-LARGEST_LOGIT)))
    kept = np.clip(prob.astype(np.float64), least, 1 - least)
    return np.asarray(np.log(kept) - np.log1p(-kept))


def describe_cells(
    logit: NDArray[np.floating],
    mask: NDArray[np.bool_],
    sigmas: tuple[float, ...],
    radii: tuple[int, ...],
) -> Float64Array:
    """Features of the cells in the mask, row by row: float64 (n, 1 + sigmas + 2 * radii).

    logit, mask: (rows, columns). A cell's own logit; for each sigma the mean of the logits around
    it, weighted exp(-d^2 / (2 sigma^2)) by the distance d, up to three sigma along each axis; for
    each radius the largest, then for each the smallest logit in the square of 2 * radius + 1 cells
    around it. All are of cells in the mask alone, so a tile without neighbours has its own logit
    everywhere, and the features of a mirrored or turned grid are those of the grid.
    """
    from scipy.ndimage import maximum_filter, minimum_filter

    known = np.where(mask, logit, 0).astype(np.float64)
    low, high = np.where(mask, known, -np.inf), np.where(mask, known, np.inf)
    widths = [2 * radius + 1 for radius in radii]
    planes = [
        known,
        *(_mean(known, mask, sigma) for sigma in sigmas),
        *(maximum_filter(low, width, mode="constant", cval=-np.inf) for width in widths),
        *(minimum_filter(high, width, mode="constant", cval=np.inf) for width in widths),
    ]
    return np.stack([plane[mask] for plane in planes], axis=1)


def _mean(known: Float64Array, mask: NDArray[np.bool_], sigma: float) -> Float64Array:
    total, weight = _spread(known, sigma), _spread(mask.astype(np.float64), sigma)
    return np.divide(total, weight, out=np.zeros_like(total), where=mask)


def _spread(values: Float64Array, sigma: float) -> Float64Array:
    from scipy.ndimage import correlate1d

    reach = _reach((sigma,), ())
    kernel = np.exp(-((np.arange(-reach, reach + 1) / sigma) ** 2) / 2)
    across = correlate1d(values, kernel, axis=1, mode="constant")
    return np.asarray(correlate1d(across, kernel, axis=0, mode="constant"))


def _reach(sigmas: tuple[float, ...], radii: tuple[int, ...]) -> int:
    return max((0, *(int(np.ceil(REACH_SIGMAS * sigma)) for sigma in sigmas), *radii))


def _rise(scales: tuple[float, ...], largest: float) -> bool:
    return all(low < high for low, high in pairwise((0, *scales))) and max((0, *scales)) <= largest


def _lattices(indices: NDArray[np.integer[Any]], step: int) -> Iterator[NDArray[np.int64]]:
    """Which tiles are `step` apart from each other, along both axes."""
    phase = (indices[:, 0] % step).astype(np.int64) * step + indices[:, 1] % step
    order = np.argsort(phase, kind="stable")
    starts = np.flatnonzero(np.diff(phase[order])) + 1
    yield from (part for part in np.split(order, starts) if len(part))


def _sigmoid(logit: Float64Array) -> Float64Array:
    from scipy.special import expit

    return np.asarray(expit(logit))
