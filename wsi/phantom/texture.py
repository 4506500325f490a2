"""Tissues as seamless textures: what breast looks like in haematoxylin and eosin, drawn once.

Densities are natural-log optical densities of the two stains; colours come last. Sizes are those of
histology: a fat cell is 50 um, a carcinoma's nucleus 9, an acinus 40.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from wsi.phantom.torus import Field, Torus, draw_nuclei, smoothstep, warp

__all__ = ["INKS", "STROMA_ANGLES", "TEXTURES", "Texture", "draw_glass", "draw_ink", "draw_texture"]

GLASS = (243, 243, 244)
# fitted to tiles of real slides: pink of collagen, purple-blue of nuclei, red of blood
HAEMATOXYLIN = (0.66, 0.70, 0.36)
EOSIN = (0.15, 0.83, 0.52)
ERYTHROCYTE = (0.16, 1.25, 0.95)
STROMA_ANGLES = {  # radians from the x axis, down; their mirrors fill the other quarter
    "dense stroma, flat": 0.35,
    "dense stroma, steep": 1.15,
    "loose stroma, flat": 0.45,
    "loose stroma, steep": 1.2,
}
INKS = {  # share of the light that a felt pen lets through
    "red": (0.84, 0.14, 0.20),
    "green": (0.10, 0.52, 0.30),
    "blue": (0.14, 0.24, 0.66),
    "black": (0.10, 0.10, 0.12),
}


@dataclass(frozen=True)
class Texture:
    """A repeating square of tissue."""

    rgb: NDArray[np.uint8]  # (n, n, 3)
    rank: NDArray[np.uint8]  # (n, n); a pixel is shown where the plan's field is above its rank


def draw_texture(name: str, torus: Torus, seed: int) -> Texture:
    return TEXTURES[name](torus, np.random.default_rng([seed, *name.encode()]))


def draw_glass(torus: Torus, seed: int) -> NDArray[np.uint8]:
    """The empty slide: uint8 (n, n, 3), slightly uneven, with the camera's noise."""
    rng = np.random.default_rng([seed, 4])
    uneven = 0.25 * torus.noise(rng, 170)[..., None] + 0.35
    grain = 0.7 * rng.standard_normal((*uneven.shape[:2], 3), np.float32)
    return np.asarray(np.clip(np.array(GLASS, np.float32) + uneven + grain, 0, 255), np.uint8)


def draw_ink(name: str, torus: Torus, seed: int) -> NDArray[np.uint8]:
    """What the ink lets through: uint8 (n, n, 3), 255 is all of the light."""
    rng = np.random.default_rng([seed, 3])
    streaks = torus.noise(rng, 40, stretch=6, angle=0.3) + 0.6 * torus.noise(rng, 160)
    amount = np.clip(1 + 0.22 * streaks, 0.3, 2)[..., None]
    return np.asarray(255 * np.exp(np.log(np.array(INKS[name])) * amount), np.uint8)


def stroma(torus: Torus, rng: np.random.Generator, angle: float, clefts: float) -> Texture:
    haematoxylin, eosin = _collagen(torus, rng, angle, clefts)
    frayed = 0.35 * torus.noise(rng, 10, stretch=5, angle=angle) + torus.noise(rng, 40)
    return Texture(_colour(haematoxylin, eosin * (1.05 - 0.2 * clefts)), _rank(frayed))


def fat(torus: Torus, rng: np.random.Generator) -> Texture:
    """Cells with thin walls; each is shown as a whole, so that fat ends in single bubbles."""
    xy = torus.points(rng, 47, jitter=0.45)
    owner, _ = torus.nearest(xy)
    border = torus.blur(torus.borders(xy, owner), 3)  # rounds the corners
    wall = np.clip(2.8 + 0.7 * torus.noise(rng, 35), 2.2, 5)
    shell = 1 - smoothstep(-0.7, 0.7, border - wall)
    haematoxylin = 0.06 * shell
    corners = torus.points(rng, 26, jitter=0.9)
    corners = corners[torus.at(border, corners) < 2.2]
    draw_nuclei(haematoxylin, torus, rng, corners, (8, 3), strength=(0.7, 1.1))
    own = rng.uniform(30, 170, len(xy)).astype(np.float32)[owner]
    rank = own + 70 * smoothstep(-22, 0, -border)
    return Texture(_colour(haematoxylin, 0.5 * shell + 0.015), rank.astype(np.uint8))


def solid_carcinoma(torus: Torus, rng: np.random.Generator) -> Texture:
    nests = torus.noise(rng, 75, ripple=True) + 0.4 * torus.noise(rng, 22) + 0.5
    return _carcinoma(torus, rng, nests, 9.0)


def cord_carcinoma(torus: Torus, rng: np.random.Generator) -> Texture:
    nests = torus.noise(rng, 44, stretch=1.7, angle=0.6, ripple=True)
    return _carcinoma(torus, rng, nests + 0.35 * torus.noise(rng, 18) - 0.2, 9.5)


def nest_carcinoma(torus: Torus, rng: np.random.Generator) -> Texture:
    """Round nests that shrank away from their stroma."""
    xy = torus.points(rng, 74, jitter=0.6)
    owner, distance = torus.nearest(xy)
    radius = rng.uniform(18, 46, len(xy)).astype(np.float32)[owner]
    border = np.minimum(torus.borders(xy, owner) - 4, radius - distance)
    nests = (border + 5 * torus.noise(rng, 30) + 2 * torus.noise(rng, 9)) / 22
    return _carcinoma(torus, rng, nests, 9.0, shrunk=0.8)


def lobule(torus: Torus, rng: np.random.Generator) -> Texture:
    """Acini, each a ring of small regular nuclei round a lumen, in pale stroma."""
    xy = torus.points(rng, 62, jitter=0.5)
    owner, distance = torus.nearest(xy)
    radius = rng.uniform(13, 25, len(xy)).astype(np.float32)[owner]
    distance = distance + 2.2 * torus.noise(rng, 18)
    edge = radius - distance  # um inside the acinus's outline
    inside = smoothstep(-0.7, 0.7, edge) * smoothstep(0, 1.5, torus.borders(xy, owner))
    hollow = rng.uniform(0.15, 0.55, len(xy)).astype(np.float32)[owner]
    lumen = smoothstep(-1, 1, hollow * radius - distance)
    haematoxylin, eosin = _collagen(torus, rng, 0.7, clefts=0.3)
    haematoxylin = haematoxylin + 0.03 + 0.2 * inside * (1 - lumen)
    eosin = eosin * 0.85 * (1 - inside) + inside * (1 - 0.9 * lumen) * 0.38
    cells = torus.points(rng, 6.2, jitter=0.35)
    kept = (torus.at(inside, cells) > 0.8) & (torus.at(lumen, cells) < 0.2)
    draw_nuclei(haematoxylin, torus, rng, cells[kept], (6.4, 4.8), strength=(0.9, 1.25))
    own = rng.uniform(20, 190, len(xy)).astype(np.float32)[owner]
    rank = np.clip(own - 1.5 * edge, 1, 250).astype(np.uint8)
    return Texture(_colour(haematoxylin, np.maximum(eosin, 0.02)), rank)


def epithelium(torus: Torus, rng: np.random.Generator) -> Texture:
    """The lining of ducts: crowded small nuclei."""
    haematoxylin = 0.2 + 0.03 * torus.noise(rng, 12)
    draw_nuclei(haematoxylin, torus, rng, torus.points(rng, 6, 0.35), (7, 4.5), strength=(0.8, 1.3))
    rgb = _colour(haematoxylin, np.full_like(haematoxylin, 0.38))
    return Texture(rgb, np.clip(118 + 5 * torus.noise(rng, 30), 100, 135).astype(np.uint8))


def lumen(torus: Torus, rng: np.random.Generator) -> Texture:
    """Empty, or with a thin pink secretion."""
    eosin = 0.02 + 0.1 * smoothstep(0.2, 1.4, torus.noise(rng, 60)) + 0.02 * torus.noise(rng, 3)
    rgb = _colour(np.full_like(eosin, 0.03), np.maximum(eosin, 0.01))
    return Texture(rgb, np.clip(134 + 3 * torus.noise(rng, 12), 126, 144).astype(np.uint8))


def vessel_wall(torus: Torus, rng: np.random.Generator) -> Texture:
    haematoxylin, eosin = _collagen(torus, rng, 0.8, clefts=0)
    return Texture(_colour(haematoxylin + 0.06, eosin * 1.15), _flat(torus, 124))


def blood(torus: Torus, rng: np.random.Generator) -> Texture:
    """Red cells side by side."""
    cells = torus.noise(rng, 7, ripple=True) + 1.2 * torus.noise(rng, 45)
    eosin = 0.85 * smoothstep(-1.2, 0.2, cells) + 0.02
    return Texture(_colour(np.zeros_like(eosin), eosin, ERYTHROCYTE), _flat(torus, 136))


TEXTURES: dict[str, Callable[[Torus, np.random.Generator], Texture]] = {
    **{
        name: partial(stroma, angle=angle, clefts=0.25 if "dense" in name else 0.8)
        for name, angle in STROMA_ANGLES.items()
    },
    "fat": fat,
    "solid carcinoma": solid_carcinoma,
    "cord carcinoma": cord_carcinoma,
    "nest carcinoma": nest_carcinoma,
    "lobule": lobule,
    "epithelium": epithelium,
    "lumen": lumen,
    "vessel wall": vessel_wall,
    "blood": blood,
}


def _collagen(
    torus: Torus, rng: np.random.Generator, angle: float, clefts: float
) -> tuple[Field, Field]:
    """Haematoxylin and eosin of wavy bundles along `angle`; `clefts` 0 to 1 opens white slits."""
    sway = torus.noise(rng, 70) * np.float32(7 / torus.mpp)
    dx, dy = -sway * np.float32(np.sin(angle)), sway * np.float32(np.cos(angle))
    bundles = warp(torus.noise(rng, 16, stretch=7, angle=angle), dx, dy)
    fibres = warp(torus.noise(rng, 4.5, stretch=9, angle=angle), dx, dy)
    slits = warp(torus.noise(rng, 11, stretch=8, angle=angle), dx, dy)
    eosin = 0.62 + 0.15 * bundles + 0.12 * fibres + 0.08 * torus.noise(rng, 60)
    open_above = 3.0 - 2.2 * clefts
    eosin *= 1 - 0.9 * smoothstep(open_above, open_above + 0.7, slits)
    haematoxylin = 0.03 + 0.015 * bundles
    nuclei = torus.points(rng, 26, jitter=0.9)
    draw_nuclei(haematoxylin, torus, rng, nuclei, (11.5, 2.5), angle=angle, strength=(0.7, 1.3))
    return np.maximum(haematoxylin, 0), np.maximum(eosin, 0.02)


def _carcinoma(
    torus: Torus, rng: np.random.Generator, nests: Field, spacing_um: float, shrunk: float = 0.0
) -> Texture:
    """Nests (where the field is above 0) of large irregular nuclei in a reactive stroma.

    `shrunk` moves the white gaps round the nests from rare (0) to nearly everywhere (1).
    """
    inside = smoothstep(-0.12, 0.12, nests)
    haematoxylin, eosin = _collagen(torus, rng, rng.uniform(0, np.pi), clefts=0.15)
    mottle = torus.noise(rng, 25)
    haematoxylin += inside * (0.16 + 0.04 * mottle) + 0.06 * (1 - inside)
    eosin = eosin * (1 - inside) * 0.9 + inside * (0.40 + 0.06 * mottle)
    open_above = 0.2 - 1.2 * shrunk
    gaps = smoothstep(open_above, open_above + 0.8, torus.noise(rng, 40))
    gaps *= np.exp(-(((nests + 0.18) / 0.12) ** 2))
    eosin *= 1 - 0.9 * gaps
    haematoxylin *= 1 - 0.8 * gaps
    cells = torus.points(rng, spacing_um, jitter=0.42)
    cells = cells[torus.at(nests, cells) > 0]
    draw_nuclei(haematoxylin, torus, rng, cells, (9.5, 7.2), strength=(0.55, 1.25), variety=0.28)
    strays = torus.points(rng, 17, jitter=0.9)
    strays = strays[torus.at(nests, strays) < -0.1]
    draw_nuclei(haematoxylin, torus, rng, strays, (6.5, 5), strength=(0.8, 1.3))
    return Texture(_colour(haematoxylin, np.maximum(eosin, 0.02)), _rank(nests))


def _colour(
    haematoxylin: Field, eosin: Field, eosin_tint: tuple[float, float, float] = EOSIN
) -> NDArray[np.uint8]:
    """Beer and Lambert: (h, w) densities to uint8 (h, w, 3)."""
    rgb = np.empty((*eosin.shape, 3), np.uint8)
    for i, (glass, h, e) in enumerate(zip(GLASS, HAEMATOXYLIN, eosin_tint, strict=True)):
        rgb[..., i] = glass * np.exp(-(haematoxylin * np.float32(h) + eosin * np.float32(e))) + 0.5
    return rgb


def _rank(height: Field) -> NDArray[np.uint8]:
    """Order statistics from 10 to 245: what is highest shows at the lowest field."""
    sample = np.sort(height[::8, ::8], axis=None)
    knots = sample[np.linspace(0, len(sample) - 1, 64).astype(int)]
    return np.interp(height, knots, np.linspace(245, 10, 64)).astype(np.uint8)


def _flat(torus: Torus, rank: int) -> NDArray[np.uint8]:
    return np.full((torus.period_px, torus.period_px), rank, np.uint8)
