"""Pixels of the drawn slide: textures laid over each other where the plan wants them.

Every block is made from its coordinates alone, so that blocks join without a seam in any order.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi.geometry import Box
from wsi.phantom.plan import MARGIN, Plan
from wsi.phantom.texture import (
    STROMA_ANGLES,
    TEXTURES,
    Texture,
    draw_glass,
    draw_ink,
    draw_texture,
)
from wsi.phantom.torus import Torus

__all__ = ["LAYERS", "Atlas", "Layer", "Painter", "draw_atlas"]

Pixels = NDArray[np.uint8]
PERIOD_UM = 512
UNMIRRORED, MIRRORED = (None, -1), (0, 1)  # OpenCV's codes: as it is, half a turn; the mirrors
FLIPS = UNMIRRORED + MIRRORED
BORDER_PX = 1  # around a block, for the blur of the optics
# the pen's field has 2 um a step: the ink fades in over 24 um
PEN_EDGE = np.clip((np.arange(256) - 122) * 255 / 12, 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Layer:
    field: str  # of the plan
    textures: tuple[str, ...]  # a patch takes one of them
    weights: tuple[float, ...] = (1.0,)


STROMA = tuple(STROMA_ANGLES)
CARCINOMA = tuple(name for name in TEXTURES if "carcinoma" in name)
LAYERS = (  # from the bottom up
    Layer("tissue", STROMA, (0.25,) * 4),
    Layer("lobule", ("lobule",)),
    Layer("cancer", CARCINOMA, (0.4, 0.25, 0.35)),
    Layer("fat", ("fat",)),
    Layer("duct", ("epithelium",)),
    Layer("duct", ("lumen",)),
    Layer("vessel", ("vessel wall",)),
    Layer("vessel", ("blood",)),
)


@dataclass(frozen=True)
class Atlas:
    """Everything that is drawn once for a slide; all squares have the same size."""

    textures: dict[str, Texture]
    glass: Pixels  # (n, n, 3)
    ink: Pixels | None  # (n, n, 3): the light that the pen lets through; None without a pen


def draw_atlas(mpp: float, seed: int, pen: str | None = None) -> Atlas:
    """Textures at `mpp` um/px; a period is the power of two of pixels nearest to 512 um."""
    torus = Torus(int(2 ** np.round(np.log2(PERIOD_UM / mpp))), mpp)
    textures = {name: draw_texture(name, torus, seed) for name in TEXTURES}
    return Atlas(textures, draw_glass(torus, seed), draw_ink(pen, torus, seed) if pen else None)


class Painter:
    """Paints blocks of a plan. Safe to use from several threads."""

    def __init__(self, plan: Plan, atlas: Atlas, seed: int) -> None:
        self.plan = plan
        self.atlas = atlas
        rng = np.random.default_rng([seed, 2])
        count = len(plan.patch_angle)
        self._offset = rng.integers(1 << 20, size=(len(LAYERS), count, 2))
        self._flip = rng.integers(len(FLIPS), size=(len(LAYERS), count))
        self._choice = [
            rng.choice(len(layer.textures), size=count, p=layer.weights) for layer in LAYERS
        ]
        self._lay_fibres_along(plan.patch_angle + rng.normal(0, 0.15, count))
        self._lowest = {name: int(texture.rank.min()) for name, texture in atlas.textures.items()}

    def _lay_fibres_along(self, angle: NDArray[np.float64]) -> None:
        """Takes, of the stromas as dense as the chosen one, the one that runs most along `angle`.

        A mirrored texture's fibres run at minus their angle.
        """
        own = np.array(list(STROMA_ANGLES.values()))
        turned = np.concatenate([own, -own]) - angle[:, None]
        apart = np.abs((turned + np.pi / 2) % np.pi - np.pi / 2)
        dense = np.array(["dense" in name for name in STROMA])
        apart[np.tile(dense, 2) != dense[self._choice[0]][:, None]] = np.inf
        best = apart.argmin(axis=1)
        self._choice[0] = best % len(own)
        self._flip[0] = self._flip[0] % 2 + len(UNMIRRORED) * (best >= len(own))

    def paint(self, box: Box) -> Pixels:
        """A level-0 box: uint8 (height, width, 3), owned by the caller."""
        grown = Box(
            box.x - BORDER_PX,
            box.y - BORDER_PX,
            box.width + 2 * BORDER_PX,
            box.height + 2 * BORDER_PX,
        )
        canvas = _wrapped(self.atlas.glass, grown, None)
        for index in range(len(LAYERS)):
            self._lay(canvas, index, grown)
        if self.atlas.ink is not None:
            self._mark(canvas, self.atlas.ink, grown)
        cut = slice(BORDER_PX, -BORDER_PX)
        blurred = cv2.GaussianBlur(canvas, (3, 3), 0.6)
        return np.ascontiguousarray(blurred[cut, cut])

    def _lay(self, canvas: Pixels, index: int, whole: Box) -> None:
        layer = LAYERS[index]
        field = self.plan.fields[layer.field]
        lowest = min(self._lowest[name] for name in layer.textures)
        box = self._box_of(field[self._window(whole)] > lowest, whole)
        if box.is_empty:
            return
        rgb, rank = self._piece(index, box)
        shown = _above(self._enlarge(field[self._window(box)], box), rank)
        cv2.copyTo(rgb, shown, _cut(canvas, box, whole))

    def _mark(self, canvas: Pixels, ink: Pixels, whole: Box) -> None:
        """A pen's line on the cover glass, out of focus: it takes light from what is below."""
        field = self.plan.fields["pen"]
        box = self._box_of(field[self._window(whole)] > 0, whole)
        if box.is_empty:
            return
        depth = cv2.LUT(self._enlarge(field[self._window(box)], box), PEN_EDGE)
        taken = cv2.multiply(255 - _wrapped(ink, box, None), cv2.merge([depth] * 3), scale=1 / 255)
        marked = _cut(canvas, box, whole)
        marked[:] = cv2.multiply(marked, 255 - taken, scale=1 / 255)

    def _piece(self, index: int, box: Box) -> tuple[Pixels, Pixels]:
        """The layer's textures over the box, each patch with its own piece.

        A pixel belongs to the nearest patch, then objects of patches close by reach over the
        border: they are drawn whole or not at all. No pixel depends on what else the box holds.
        """
        numbers = np.unique(self.plan.patch[self._window(box)])
        if len(numbers) == 1:
            return self._take(index, numbers[0], box)
        patches = [patch for n in numbers if (patch := self._patch(index, n, box))]
        rgb = np.empty((box.height, box.width, 3), np.uint8)
        rank = np.empty((box.height, box.width), np.uint8)
        closest = np.zeros((box.height, box.width), np.uint8)
        for patch in patches:
            best = _cut(closest, patch.box, box)
            patch.copy(_above(patch.near, best), rgb, rank, box)
            np.maximum(best, patch.near, out=best)
        for patch in patches:
            patch.copy(_above(patch.near, patch.rank), rgb, rank, box)
        return rgb, rank

    def _patch(self, index: int, number: int, whole: Box) -> "_Patch | None":
        here = (self.plan.patch[self._window(whole)] == number).astype(np.uint8) * 255
        box = self._box_of(cv2.blur(here, (5, 5)) > 0, whole)
        if box.is_empty:
            return None
        near = (self.plan.patch[self._window(box, 5)] == number).astype(np.uint8) * 255
        near = cv2.blur(near, (5, 5))[2:-2, 2:-2]
        return _Patch(box, self._enlarge(near, box), *self._take(index, number, box))

    def _take(self, index: int, patch: int, box: Box) -> tuple[Pixels, Pixels]:
        texture = self.atlas.textures[LAYERS[index].textures[self._choice[index][patch]]]
        x, y = (int(n) for n in self._offset[index, patch])
        moved = Box(box.x + x, box.y + y, box.width, box.height)
        flip = FLIPS[self._flip[index, patch]]
        return _wrapped(texture.rgb, moved, flip), _wrapped(texture.rank, moved, flip)

    def _window(self, box: Box, more: int = 3) -> tuple[slice, slice]:
        """Plan cells that the box needs, with some more on each side to smooth over."""
        cell = self.plan.cell_px
        rows = slice(box.y // cell + MARGIN - more, -(-box.bottom // cell) + MARGIN + more)
        columns = slice(box.x // cell + MARGIN - more, -(-box.right // cell) + MARGIN + more)
        return rows, columns

    def _box_of(self, wanted: NDArray[np.bool_], whole: Box) -> Box:
        """The part of `whole` that cells of _window(whole) have a say in."""
        if not wanted.any():
            return Box(whole.x, whole.y, 0, 0)
        rows, columns = (np.flatnonzero(wanted.any(axis=axis)) for axis in (1, 0))
        cell = self.plan.cell_px
        top, left = (s.start - MARGIN for s in self._window(whole))
        x, y = (left + columns[0] - 1) * cell, (top + rows[0] - 1) * cell
        right, bottom = (left + columns[-1] + 2) * cell, (top + rows[-1] + 2) * cell
        return Box(int(x), int(y), int(right - x), int(bottom - y)).intersection(whole)

    def _enlarge(self, small: Pixels, box: Box) -> Pixels:
        """Cells of _window(box) to the box's pixels."""
        cell = self.plan.cell_px
        rows, columns = self._window(box)
        side = (small.shape[1] * cell, small.shape[0] * cell)
        large = cv2.resize(small, side, interpolation=cv2.INTER_LINEAR)
        top, left = box.y - (rows.start - MARGIN) * cell, box.x - (columns.start - MARGIN) * cell
        return np.asarray(large[top : top + box.height, left : left + box.width], np.uint8)


@dataclass(frozen=True)
class _Patch:
    """A texture's piece where a patch is near: 255 inside it, fading over its border."""

    box: Box
    near: Pixels
    rgb: Pixels
    rank: Pixels

    def copy(self, shown: Pixels, rgb: Pixels, rank: Pixels, whole: Box) -> None:
        cv2.copyTo(self.rgb, shown, _cut(rgb, self.box, whole))
        cv2.copyTo(self.rank, shown, _cut(rank, self.box, whole))


def _above(field: Pixels, rank: Pixels) -> Pixels:
    """255 where the field is above the rank, else 0."""
    return np.asarray(cv2.compare(field, rank, cv2.CMP_GT), np.uint8)


def _cut(pixels: Pixels, box: Box, whole: Box) -> Pixels:
    """The box out of an array that covers `whole`: a view."""
    top, left = box.y - whole.y, box.x - whole.x
    return pixels[top : top + box.height, left : left + box.width]


def _wrapped(plane: Pixels, box: Box, flip: int | None) -> Pixels:
    """A window of the plane repeated without end, mirrored (OpenCV's code) where asked."""
    period = len(plane)
    x = -(box.x + box.width) if flip in (1, -1) else box.x
    y = -(box.y + box.height) if flip in (0, -1) else box.y
    out = np.empty((box.height, box.width, *plane.shape[2:]), np.uint8)
    for top, rows in _pieces(y, box.height, period):
        for left, columns in _pieces(x, box.width, period):
            piece = plane[rows, columns]
            out[top : top + piece.shape[0], left : left + piece.shape[1]] = piece
    return out if flip is None else np.asarray(cv2.flip(out, flip), np.uint8)


def _pieces(start: int, length: int, period: int) -> list[tuple[int, slice]]:
    """(where in the window, which part of the period) for start … start + length."""
    pieces, done = [], 0
    while done < length:
        begin = (start + done) % period
        stop = min(period, begin + length - done)
        pieces.append((done, slice(begin, stop)))
        done += stop - begin
    return pieces
