"""Where everything lies on the drawn slide: rasters of about 16 um a cell over all of level 0.

A field is uint8. A texture's pixel shows where the enlarged field is above the pixel's rank, so a
field that fades from 255 to 0 thins a tissue out, object by object.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi.geometry import Size
from wsi.phantom.torus import Field

__all__ = ["MARGIN", "Plan", "make_plan"]

CELL_UM = 16.0
MARGIN = 8  # cells around the slide, so that no block has to look over the edge
PATCH_UM = 430.0  # textures repeat after 512 um: each patch takes its own piece of them
Mask = NDArray[np.bool_]
Raster = NDArray[np.uint8]


@dataclass(frozen=True)
class Plan:
    """Rasters are (rows, columns) with MARGIN cells more on each side; angles in radians."""

    size: Size  # level-0 px
    cell_px: int  # a power of two: enlarging by it is exact and the same in every block
    fields: dict[str, Raster]
    patch: NDArray[np.int32]  # which piece of the textures is taken here
    patch_angle: Field  # (patches,) the way of the fibres
    cancer: Mask  # truth, without the margin
    tissue: Mask  # without the margin


@dataclass(frozen=True)
class _Sheet:
    """The raster that is being planned, and its chance."""

    rows: int
    columns: int
    cell_um: float
    rng: np.random.Generator

    def noise(self, wave_um: float) -> Field:
        """Clouds of mean 0 and deviation 1, `wave_um` from bump to bump."""
        step = max(1.0, wave_um / self.cell_um / 4)
        shape = (int(self.rows / step) + 8, int(self.columns / step) + 8)
        small = cv2.GaussianBlur(self.rng.standard_normal(shape).astype(np.float32), (0, 0), 1.3)
        side = (int(shape[1] * step) + 1, int(shape[0] * step) + 1)
        large = cv2.resize(small / small.std(), side, interpolation=cv2.INTER_CUBIC)
        return np.asarray(large[: self.rows, : self.columns], np.float32)

    def ramp(self, mask: Mask, width_um: float) -> Raster:
        """255 inside, 0 outside, 128 at the border; `width_um` from one to the other."""
        signed = self.signed_distance(mask) / width_um
        return np.asarray(np.clip(128 + 255 * signed, 0, 255), np.uint8)

    def signed_distance(self, mask: Mask) -> Field:
        """um to the mask's border, positive inside; smoothed over two cells."""
        inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
        outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
        signed = np.where(mask, inside - 0.5, 0.5 - outside).astype(np.float32)
        return np.asarray(cv2.GaussianBlur(signed, (0, 0), 1.2), np.float32) * self.cell_um

    @property
    def x_um(self) -> Field:
        return (np.arange(self.columns, dtype=np.float32)[None, :] + 0.5) * self.cell_um

    @property
    def y_um(self) -> Field:
        return (np.arange(self.rows, dtype=np.float32)[:, None] + 0.5) * self.cell_um


def make_plan(
    size: Size, mpp: float, seed: int, cancer_fraction: float, *, pen: bool = False
) -> Plan:
    """`cancer_fraction` is the share of the tissue's area; 0 draws a slide without cancer."""
    cell_px = int(2 ** np.round(np.log2(CELL_UM / mpp)))
    rows, columns = (-(-n // cell_px) + 2 * MARGIN for n in (size.height, size.width))
    sheet = _Sheet(rows, columns, cell_px * mpp, np.random.default_rng([seed, 1]))
    tissue = _tissue(sheet)
    angle = sheet.rng.uniform(0, np.pi) + 0.6 * sheet.noise(2600)
    strands = _along(sheet, sheet.noise(150), angle, 900)
    cancer = _cancer(sheet, tissue, strands, cancer_fraction)
    fields = {"tissue": sheet.ramp(tissue, 50), "cancer": _invading(sheet, cancer, strands)}
    fields |= _glands(sheet, tissue, cancer, strands, angle)
    fields["fat"] = _fat(sheet, fields, tissue, cancer, strands)
    fields = {name: np.minimum(field, fields["tissue"]) for name, field in fields.items()}
    fields["pen"] = _pen(sheet, cancer if cancer.any() else tissue, pen)
    patch, centres = _patches(sheet)
    inner = (slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
    return Plan(
        size,
        cell_px,
        fields,
        patch,
        angle[centres[:, 1], centres[:, 0]],
        cancer[inner],
        tissue[inner],
    )


def _tissue(sheet: _Sheet) -> Mask:
    """One large piece, and a small one beside it where there is room."""
    width, height = sheet.columns * sheet.cell_um, sheet.rows * sheet.cell_um
    short = min(width, height)
    x, y = (sheet.x_um / width - 0.5) * 2, (sheet.y_um / height - 0.5) * 2
    rough = 0.16 * sheet.noise(short / 2.5) + 0.05 * sheet.noise(short / 7)
    rough = np.clip(rough, -0.3, 0.2) + min(0.02, 60 / short) * sheet.noise(250)
    main = (np.abs(x + 0.12) / 0.70) ** 2.4 + (np.abs(y) / 0.72) ** 2.4 < 1 + 2.2 * rough
    side = (np.abs(x - 0.74) / 0.14) ** 2 + (np.abs(y + 0.35) / 0.34) ** 2 < 1 + 2.2 * rough
    frame = np.maximum(np.abs(x), np.abs(y)) < 0.955
    return np.asarray((main | side) & frame, np.bool_)


def _along(sheet: _Sheet, field: Field, angle: Field, length_um: float) -> Field:
    """Smears a field along the directions `angle`: what was clouds becomes strands."""
    step = 1.5
    row, column = np.mgrid[: sheet.rows, : sheet.columns].astype(np.float32)
    total = field.copy()
    for sign in (1, -1):
        x, y = column.copy(), row.copy()
        for _ in range(int(length_um / 2 / sheet.cell_um / step)):
            here = cv2.remap(angle, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
            x += sign * step * np.cos(here)
            y += sign * step * np.sin(here)
            total += cv2.remap(field, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray((total - total.mean()) / total.std(), np.float32)


def _cancer(sheet: _Sheet, tissue: Mask, strands: Field, fraction: float) -> Mask:
    """Masses with spiculated borders that together take `fraction` of the tissue."""
    if fraction <= 0:
        return np.zeros_like(tissue)
    inside = sheet.signed_distance(tissue)
    scale = np.sqrt(tissue.sum() * fraction / np.pi) * sheet.cell_um  # radius of one round mass
    closeness = np.full(tissue.shape, -np.inf, np.float32)
    for size in (1.0, 0.55):
        spot = inside + 0.35 * scale * sheet.noise(2 * scale)
        spot[closeness > -1.6 * size] = -np.inf  # apart from the masses before
        row, column = np.unravel_index(spot.argmax(), spot.shape)
        away = np.hypot(sheet.x_um - sheet.x_um[0, column], sheet.y_um - sheet.y_um[row, 0])
        closeness = np.maximum(closeness, -away / (scale * size))
    shape = closeness + 0.20 * sheet.noise(scale) + 0.10 * strands + 0.06 * sheet.noise(300)
    shape[~tissue] = -np.inf
    level = np.sort(shape[tissue])[-max(1, round(fraction * tissue.sum()))]
    grown = (shape >= level).astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    return np.asarray(cv2.morphologyEx(grown, cv2.MORPH_OPEN, kernel), np.bool_)


def _invading(sheet: _Sheet, cancer: Mask, strands: Field) -> Raster:
    """Fades over 240 um at the border; strands of the old stroma are left inside."""
    left = np.clip(0.75 * strands + 0.6 * sheet.noise(320) - 0.9, 0, 1)
    return np.asarray(sheet.ramp(cancer, 240) * (1 - 0.7 * left), np.uint8)


def _glands(
    sheet: _Sheet, tissue: Mask, cancer: Mask, strands: Field, angle: Field
) -> dict[str, Raster]:
    """Lobules, ducts and vessels in the stroma, away from the cancer, along the strands.

    Ducts and vessels are 128 at their outline and one step for each um farther inside.
    """
    room = np.minimum(sheet.signed_distance(tissue), -sheet.signed_distance(cancer)) > 250
    room &= strands > 0
    area_mm2 = float(tissue.sum()) * sheet.cell_um**2 / 1e6
    fields = {}
    for name, per_mm2, length, width in (
        ("lobule", 0.35, (150, 520), (150, 330)),
        ("duct", 0.9, (60, 420), (45, 110)),
        ("vessel", 0.8, (20, 160), (30, 75)),
    ):
        field = np.zeros(tissue.shape, np.float32)
        for row, column in _spots(sheet, room, round(per_mm2 * area_mm2)):
            extent = (sheet.rng.uniform(*length), sheet.rng.uniform(*width))
            _add_capsule(sheet, field, row, column, float(angle[row, column]), extent)
        fields[name] = np.clip(field, 0, 255).astype(np.uint8)
    return fields


def _spots(sheet: _Sheet, room: Mask, count: int) -> list[tuple[int, int]]:
    rows, columns = np.nonzero(room)
    if not len(rows):
        return []
    picks = sheet.rng.integers(len(rows), size=count)
    return [(int(rows[i]), int(columns[i])) for i in picks]


def _add_capsule(
    sheet: _Sheet,
    field: Field,
    row: int,
    column: int,
    angle: float,
    extent_um: tuple[float, float],
) -> None:
    """A bent rod with a wavy outline: 128 + um inside it."""
    length, width = extent_um
    reach = int((length + width + 130) / 2 / sheet.cell_um) + 2
    window = (
        slice(max(0, row - reach), row + reach + 1),
        slice(max(0, column - reach), column + reach + 1),
    )
    x = sheet.x_um[:, window[1]] - sheet.x_um[0, column]
    y = sheet.y_um[window[0]] - sheet.y_um[row, 0]
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    v = v - sheet.rng.normal(0, 0.25) * u**2 / max(length, 1)
    phase, wave = sheet.rng.uniform(0, 6.28), sheet.rng.uniform(120, 260)
    radius = width / 2 * (1 + 0.22 * np.sin(u / wave * 6.28 + phase))
    away = np.hypot(np.maximum(np.abs(u) - length / 2, 0), v)
    np.maximum(field[window], 128 + radius - away, out=field[window])


def _fat(
    sheet: _Sheet, fields: dict[str, Raster], tissue: Mask, cancer: Mask, strands: Field
) -> Raster:
    """Between the strands; it keeps off glands and cancer, but for a few cells in its border."""
    desire = -strands + 0.7 * sheet.noise(1500) + 0.25 * sheet.noise(260)
    depth = sheet.signed_distance(cancer) if cancer.any() else np.full(tissue.shape, -1e4)
    desire = desire - 1.8 * np.exp(-np.square(np.minimum(depth, 0) / 260))
    for name in ("lobule", "duct", "vessel"):
        desire = desire - 2.5 * np.clip((fields[name].astype(np.float32) - 50) / 78, 0, 1)
    fat = np.clip(128 + 150 * (desire - 0.05), 0, 255)
    sprinkled = np.clip(45 * (sheet.noise(500) + 0.2), 0, 90)
    return np.asarray(np.where(depth > 0, np.minimum(fat, sprinkled), fat), np.uint8)


def _pen(sheet: _Sheet, target: Mask, wanted: bool) -> Raster:
    """A felt pen's line most of the way round the target: 128 at its edge, 2 um a step."""
    if not wanted:
        return np.zeros(target.shape, np.uint8)
    away = -sheet.signed_distance(target)
    half = min(150.0, 0.02 * sheet.cell_um * min(sheet.rows, sheet.columns))
    line = half - np.abs(away - 420 - 90 * sheet.noise(1800)) + 8 * sheet.noise(120)
    row, column = (int(n.mean()) for n in np.nonzero(target))
    bearing = np.arctan2(sheet.y_um - sheet.y_um[row, 0], sheet.x_um - sheet.x_um[0, column])
    gap = np.abs(bearing - sheet.rng.uniform(-1.5, 1.5))
    line -= half * np.clip((1.7 - gap) / 0.15, 0, 10)
    return np.asarray(np.clip(128 + line / 2, 0, 255), np.uint8)


def _patches(sheet: _Sheet) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Wavy cells of a shaken lattice, and the raster cell (x, y) at each one's centre."""
    pitch = PATCH_UM / sheet.cell_um
    across, down = int(sheet.columns / pitch) + 2, int(sheet.rows / pitch) + 2
    shake = sheet.rng.uniform(0.15, 0.85, (down, across, 2)).astype(np.float32)
    x = np.arange(sheet.columns)[None, :] / pitch + 0.22 * sheet.noise(220)
    y = np.arange(sheet.rows)[:, None] / pitch + 0.22 * sheet.noise(220)
    best = np.full(x.shape, np.inf, np.float32)
    patch = np.zeros(x.shape, np.int32)
    for j in (-1, 0, 1):
        for i in (-1, 0, 1):
            row = np.clip(np.floor(y).astype(int) + j, 0, down - 1)
            column = np.clip(np.floor(x).astype(int) + i, 0, across - 1)
            centre = shake[row, column]
            square = (column + centre[..., 0] - x) ** 2 + (row + centre[..., 1] - y) ** 2
            closer = square < best
            best[closer] = square[closer]
            patch[closer] = (row * across + column)[closer]
    grid = np.stack(np.meshgrid(np.arange(across), np.arange(down)), axis=-1) + shake
    centres = (grid * pitch).astype(np.int64).reshape(-1, 2)
    return patch, np.clip(centres, 0, [sheet.columns - 1, sheet.rows - 1])
