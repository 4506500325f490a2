"""Pictures without an edge: what leaves at the right comes in at the left."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Field", "Torus", "draw_nuclei", "smoothstep", "warp"]

Field = NDArray[Any]

SAMPLES_A_WAVE = 6  # fewer show the lattice that the noise is made on


@dataclass(frozen=True)
class Torus:
    """A square of `period_px` that repeats. Lengths are in um, arrays (period_px, period_px)."""

    period_px: int
    mpp: float

    @property
    def period_um(self) -> float:
        return self.period_px * self.mpp

    def noise(
        self,
        rng: np.random.Generator,
        wave_um: float,
        *,
        stretch: float = 1.0,
        angle: float = 0.0,
        ripple: bool = False,
    ) -> Field:
        """Gaussian noise of mean 0 and deviation 1 whose smallest bumps are about `wave_um` wide.

        `stretch` times longer along `angle` (radians from the x axis, down). With `ripple` only
        that wavelength is there, which looks like a labyrinth, not like clouds.
        """
        n = self._lattice(wave_um)
        fy = np.fft.fftfreq(n, 1 / n)[:, None] * (wave_um / self.period_um)
        fx = np.fft.rfftfreq(n, 1 / n)[None, :] * (wave_um / self.period_um)
        along = (fx * np.cos(angle) + fy * np.sin(angle)) * stretch
        across = fy * np.cos(angle) - fx * np.sin(angle)
        radius = np.hypot(along, across)
        gain = np.exp(-(((radius - 1) / 0.25) ** 2)) if ripple else np.exp(-(radius**2))
        gain[0, 0] = 0
        white = rng.standard_normal((n, n), np.float32)
        smooth = np.fft.irfft2(np.fft.rfft2(white) * gain, (n, n))
        return self._enlarge((smooth / smooth.std()).astype(np.float32))

    def _lattice(self, wave_um: float) -> int:
        needed = SAMPLES_A_WAVE * self.period_um / wave_um
        return int(min(self.period_px, 2 ** np.ceil(np.log2(max(16.0, needed)))))

    def _enlarge(self, small: Field) -> Field:
        n = len(small)
        if n == self.period_px:
            return small
        scale = self.period_px // n
        wrapped = np.pad(small, 2, mode="wrap")
        side = (n + 4) * scale
        large = cv2.resize(wrapped, (side, side), interpolation=cv2.INTER_CUBIC)
        cut = slice(2 * scale, 2 * scale + self.period_px)
        return np.asarray(large[cut, cut], np.float32)

    def points(self, rng: np.random.Generator, spacing_um: float, jitter: float = 0.4) -> Field:
        """(n, 2) x and y in um, about `spacing_um` apart: a shaken hexagonal lattice."""
        columns = max(1, round(self.period_um / spacing_um))
        rows = max(2, 2 * round(self.period_um / spacing_um / np.sqrt(3)))
        y, x = np.mgrid[:rows, :columns].astype(np.float32)
        x += 0.5 * (y % 2)
        shake = rng.uniform(-jitter, jitter, (2, rows, columns))
        xy = np.stack([(x + shake[0]) / columns, (y + shake[1]) / rows], axis=-1)
        return np.asarray(xy.reshape(-1, 2) % 1 * self.period_um, np.float32)

    def at(self, field: Field, xy_um: Field) -> Field:
        """A field's values at points (n, 2)."""
        column, row = (xy_um / self.mpp).astype(np.int64).T % self.period_px
        return np.asarray(field[row, column])

    def blur(self, field: Field, sigma_um: float) -> Field:
        pad = min(self.period_px, int(4 * sigma_um / self.mpp) + 1)
        wrapped = cv2.GaussianBlur(np.pad(field, pad, mode="wrap"), (0, 0), sigma_um / self.mpp)
        return np.asarray(wrapped[pad:-pad, pad:-pad], np.float32)

    def nearest(self, xy_um: Field) -> tuple[NDArray[np.intp], Field]:
        """Which point is the nearest to each pixel (nearly always), and how far it is in um."""
        pad = self.period_px // 4
        tiles = np.array([(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1)]) * self.period_px
        copies = ((xy_um / self.mpp).astype(int)[:, None] + tiles + pad).reshape(-1, 2)
        index = np.repeat(np.arange(len(xy_um)), len(tiles))
        seen = ((copies >= 0) & (copies < self.period_px + 2 * pad)).all(axis=1)
        column, row = copies[seen].T
        empty = np.ones((self.period_px + 2 * pad,) * 2, np.uint8)
        empty[row, column] = 0
        _, label = cv2.distanceTransformWithLabels(
            empty, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )
        point = np.zeros(int(label.max()) + 1, np.intp)
        point[label[row, column]] = index[seen]
        owner = point[label[pad:-pad, pad:-pad]]
        return owner, self._distance(xy_um, owner)

    def _distance(self, xy_um: Field, owner: NDArray[np.intp]) -> Field:
        half = self.period_um / 2
        centre = (np.arange(self.period_px, dtype=np.float32) + 0.5) * np.float32(self.mpp)
        dx = (centre[None, :] - xy_um[owner, 0] + half) % self.period_um - half
        dy = (centre[:, None] - xy_um[owner, 1] + half) % self.period_um - half
        return np.asarray(np.hypot(dx, dy), np.float32)

    def borders(self, xy_um: Field, owner: NDArray[np.intp]) -> Field:
        """How far each pixel is from the border between its owner's cell and the next, in um."""
        scale = max(1, int(2 ** np.round(np.log2(2.0 / self.mpp))))
        coarse = Torus(self.period_px // scale, self.mpp * scale)
        centre = (np.arange(coarse.period_px, dtype=np.float32) + 0.5) * coarse.mpp
        nearest = owner[scale // 2 :: scale, scale // 2 :: scale]
        own = coarse._distance(xy_um, nearest) ** 2
        half = self.period_um / 2
        border = np.full(own.shape, np.inf, np.float32)
        for other, point in enumerate(xy_um):
            apart = np.hypot(*((xy_um - point + half) % self.period_um - half).T)[nearest]
            bisector = (self._squares(centre, *point) - own) / (2 * np.maximum(apart, 1e-3))
            bisector[nearest == other] = np.inf  # no border with oneself
            np.minimum(border, bisector, out=border)
        return self._enlarge(border)

    def _squares(self, centre: Field, x: float, y: float) -> Field:
        half = self.period_um / 2
        dx = (centre - x + half) % self.period_um - half
        dy = (centre - y + half) % self.period_um - half
        return np.asarray(dx[None, :] ** 2 + dy[:, None] ** 2, np.float32)


def smoothstep(low: float, high: float, field: Field) -> Field:
    """0 below `low`, 1 above `high`, without a kink between."""
    t = np.clip((field - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def warp(field: Field, dx_px: Field, dy_px: Field) -> Field:
    """The field with each pixel taken from (x + dx, y + dy), around the edge."""
    n = len(field)
    place = np.arange(n, dtype=np.float32)
    column, row = place[None, :] + dx_px, place[:, None] + dy_px
    moved = cv2.remap(field, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return np.asarray(moved, np.float32)


def draw_nuclei(
    density: Field,
    torus: Torus,
    rng: np.random.Generator,
    xy_um: Field,
    size_um: tuple[float, float],
    *,
    strength: tuple[float, float] = (0.8, 1.2),
    angle: float | Sequence[float] | None = None,
    variety: float = 0.2,
) -> None:
    """Darkens `density` by nuclei of `size_um` (length, width) at points, along `angle` or any way.

    They lie over what is there like stained bodies in a section: the darker one wins.
    """
    stamps = _nucleus_stamps(torus.mpp, rng, size_um, angle, variety)
    margin = max(len(stamp) for stamp in stamps)
    canvas = np.pad(density, margin, mode="wrap")
    half = margin // 2
    choice = rng.integers(len(stamps), size=len(xy_um))
    weight = rng.uniform(*strength, len(xy_um)).astype(np.float32)
    for (x, y), pick, w in zip((xy_um / torus.mpp).astype(int), choice, weight, strict=True):
        stamp = stamps[pick]
        n = len(stamp)
        part = canvas[margin + y - half : margin + y - half + n, margin + x - half :][:, :n]
        np.maximum(part, stamp * w, out=part)
    _fold(canvas, margin)
    density[:] = canvas[margin:-margin, margin:-margin]


def _fold(canvas: Field, margin: int) -> None:
    """What was drawn over an edge comes in at the other side."""
    for part in (canvas, canvas.T):
        inner = part[margin : 2 * margin]
        np.maximum(inner, part[-margin:], out=inner)
        inner = part[-2 * margin : -margin]
        np.maximum(inner, part[:margin], out=inner)


def _nucleus_stamps(
    mpp: float,
    rng: np.random.Generator,
    size_um: tuple[float, float],
    angle: float | Sequence[float] | None,
    variety: float,
    count: int = 48,
) -> list[Field]:
    reach = size_um[0] * (1 + 2 * variety) / 2 / mpp + 2
    side = int(np.ceil(2 * reach)) | 1
    y, x = np.mgrid[:side, :side].astype(np.float32) - side // 2
    return [_nucleus(x, y, mpp, rng, size_um, angle, variety) for _ in range(count)]


def _nucleus(
    x: Field,
    y: Field,
    mpp: float,
    rng: np.random.Generator,
    size_um: tuple[float, float],
    angle: float | Sequence[float] | None,
    variety: float,
) -> Field:
    """One body of density about 1: wobbly outline, soft edge, mottled chromatin, darker rim."""
    length, width = (s / mpp / 2 * rng.uniform(1 - variety, 1 + variety) for s in size_um)
    turn = rng.uniform(0, np.pi) if angle is None else rng.choice(np.atleast_1d(angle))
    turn += rng.normal(0, 0.12)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    around = np.arctan2(v, u)
    wobble = sum(
        rng.normal(0, 0.5 * variety / k) * np.cos(k * around + rng.uniform(0, 6.28))
        for k in (2, 3, 4)
    )
    radius = np.hypot(u / length, v / width) * (1 + wobble)
    body = smoothstep(0, 1, (1.08 - radius) * width / max(0.8, 0.5 / mpp))
    grain = cv2.GaussianBlur(rng.standard_normal(x.shape).astype(np.float32), (0, 0), 0.5 / mpp)
    grain = grain / (grain.std() + 1e-6)
    rim = np.exp(-(((radius - 0.9) / 0.15) ** 2))
    return np.asarray(body * np.clip(0.82 + 0.13 * grain + 0.15 * rim, 0.4, 1.3), np.float32)
