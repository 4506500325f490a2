"""What the slides looked like that a model learned from, and whether another one looks like them.

The look of a slide is its mean optical density in red, green and blue where something is stained,
in logarithms: three numbers that staining, scanner and white balance move, and that a tile of any
size has. Looks of training patients make a cloud; a slide is judged by its Mahalanobis distance
from it, which counts a shift that patients differ by anyway less than one that none of them shows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import CardError

__all__ = ["LOOK_MPP", "Appearance", "learn_appearance", "look_of"]

LOOK_MPP = 8.0
"""um/px at which pixels are looked at: that of the overview that tissue is found on."""

GLASS = 0.06  # optical density, mean of the channels; less is glass
LEAST_PX = 500  # of stained pixels, for a look
LEAST_PATIENTS = 20  # for a cloud
FAINTEST = 0.005  # optical density whose logarithm is taken at least
SHARE = 0.99  # of the training patients lie within the limit
ENLARGED = 1.25  # as far as a slide's px may be larger than those learned from; wsi.tiler's limit
COLOURS = ("red", "green", "blue")
DIGITS = 5

Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class Appearance:
    """mean, covariance: of the patients' looks. limit: distance within which 99 of 100 of these
    patients lie, each measured against the others. low, high: their 1st and 99th percentile of
    optical density, by colour. mpp: finest and coarsest um/px of what was learned from.

    Raises CardError.
    """

    mean: Rgb
    covariance: tuple[Rgb, Rgb, Rgb]
    limit: float
    low: Rgb
    high: Rgb
    patients: int
    mpp: tuple[float, float]

    def __post_init__(self) -> None:
        shapes = [np.shape(value) for value in (self.mean, self.covariance, self.low, self.high)]
        if shapes != [(3,), (3, 3), (3,), (3,)] or len(self.mpp) != 2:
            raise CardError(f"appearance has values of shapes {shapes}; use three colours each")
        if not self.limit > 0 or not 0 < self.mpp[0] <= self.mpp[1]:
            raise CardError(f"appearance has limit {self.limit}, mpp {self.mpp}; use above 0")
        matrix = np.array(self.covariance)
        if not np.isfinite(matrix).all() or not (np.linalg.eigvalsh(matrix) > 0).all():
            raise CardError("appearance has a covariance that is none; it must be positive")

    def distance(self, look: NDArray[np.float64]) -> float:
        """Of look_of() from the cloud; about 1.5 for half of the training patients."""
        return _distance(look, np.array(self.mean), np.array(self.covariance))

    def complaint(self, look: NDArray[np.float64] | None, model: str) -> str | None:
        """A sentence where the look is farther away than `limit`; None where it is not, or where
        there was too little to look at."""
        if look is None or (distance := self.distance(look)) <= self.limit:
            return None
        found = ", ".join(
            f"{name} {od:.2f} (theirs {low:.2f} to {high:.2f})"
            for name, od, low, high in zip(COLOURS, np.exp(look), self.low, self.high, strict=True)
        )
        return (
            f"the colours are unlike those that {model} learned from (distance {distance:.1f}; "
            f"{SHARE:.0%} of its {self.patients} training patients are within {self.limit:.1f}), "
            f"its probabilities may be wrong here; optical densities, of which the mixture counts: "
            f"{found}"
        )

    def complaint_of_scale(self, slide_mpp: Iterable[float], model: str) -> str | None:
        """A sentence where level 0 of a slide is coarser than what the model learned from."""
        coarsest = max(slide_mpp)
        if coarsest <= ENLARGED * self.mpp[1]:
            return None
        return (
            f"level 0 has {coarsest:g} um/px, but {model} learned from {self.mpp[1]:g} um/px at "
            "most: tiles are enlarged and lack detail, its probabilities may be wrong here"
        )

    def to_json(self) -> dict[str, Any]:
        fields: dict[str, Any] = asdict(self)
        return fields

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Appearance:
        try:
            numbers = {name: _as_tuple(fields[name]) for name in cls.__dataclass_fields__}
            return cls(**{**numbers, "patients": int(fields["patients"])})
        except (KeyError, TypeError, ValueError) as error:
            raise CardError(
                f"appearance cannot be read ({error!r}); train the model anew"
            ) from error


def look_of(rgb: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    """Pixels (n, 3), glass among them → logarithms of the mean optical density, float64 (3,).

    None where fewer than LEAST_PX are stained.
    """
    import cv2

    density = cv2.LUT(rgb[None], np.repeat(DENSITY, 3).reshape(1, 256, 3))
    stained = (cv2.transform(density, np.full((1, 3), 1 / 3, np.float32)) > GLASS).view(np.uint8)
    if np.count_nonzero(stained) < LEAST_PX:
        return None
    return np.log(np.maximum(cv2.mean(density, stained)[:3], FAINTEST))


def learn_appearance(
    looks: Iterable[NDArray[np.float64] | None], mpp: tuple[float, float]
) -> Appearance | None:
    """From a look a patient. None where there are too few patients to tell what is usual."""
    cloud = np.array([look for look in looks if look is not None])
    if len(cloud) < LEAST_PATIENTS:
        return None
    left_out = [_distance(look, *_moments(np.delete(cloud, i, 0))) for i, look in enumerate(cloud)]
    mean, covariance = _moments(cloud)
    low, high = np.exp(np.quantile(cloud, [1 - SHARE, SHARE], axis=0))
    return Appearance(
        mean=_rounded(mean),
        covariance=_rounded(covariance),
        limit=max(LEAST_LIMIT, round(float(np.quantile(left_out, SHARE)), 3)),
        low=_rounded(low),
        high=_rounded(high),
        patients=len(cloud),
        mpp=mpp,
    )


DENSITY = -np.log10((np.arange(256, dtype=np.float32) + 1) / 256)
"""Optical density of a grey value; one is added, so that black has one."""

LEAST_SPREAD = 1e-4  # added to the variances: patients that are all alike still have a cloud
LEAST_LIMIT = 1.0


def _moments(cloud: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return cloud.mean(0), np.cov(cloud.T) + LEAST_SPREAD * np.eye(3)


def _distance(
    look: NDArray[np.float64], mean: NDArray[np.float64], covariance: NDArray[np.float64]
) -> float:
    shift = look - mean
    return math.sqrt(shift @ np.linalg.solve(covariance, shift))


def _rounded(values: NDArray[np.float64]) -> Any:
    return _as_tuple(values.round(DIGITS).tolist())


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list | tuple) else float(value)
