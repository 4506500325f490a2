"""A small slide's heatmap, ready to be exported: numbers that a reader can check by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi.export import ExportSource
from wsi.geometry import Box, Mpp, Scale, Size
from wsi.grid import TileGrid
from wsi.heatmap import assemble
from wsi.mask import TissueMask
from wsi.slide import Level, SlideInfo

CLASSES = ("non_idc", "idc")
SIZE0 = Size(3200, 2400)
MPP = Mpp(0.25, 0.25)  # 40x


def make_source(
    *,
    size0: Size = SIZE0,
    mpp: Mpp = MPP,
    tile_px: int = 50,
    tile_mpp: float = 4.0,
    stride_px: int | None = None,
    bounds: Box | None = None,
    classes: tuple[str, ...] = CLASSES,
    positive_class: str = "idc",
    threshold: float = 0.5,
    indices: list[tuple[int, int]] | None = None,
    prob: NDArray[np.floating[Any]] | list[list[float]] | None = None,
    tissue: NDArray[np.bool_] | None = None,
    **fields: Any,
) -> ExportSource:
    """By default 3 rows by 4 columns of tiles, 800 level-0 px (200 um) a side, all but the first
    scored; the positive class's score of tile (row, column) is (4 * row + column) / 16."""
    grid = TileGrid.over(
        size0, mpp, tile_px=tile_px, mpp=tile_mpp, stride_px=stride_px, bounds0=bounds
    )
    if indices is None:
        indices = [(r, c) for r in range(grid.shape[0]) for c in range(grid.shape[1])][1:]
    at = np.array(indices, np.int32).reshape(-1, 2)
    scores = default_prob(at, len(classes), classes.index(positive_class)) if prob is None else prob
    prob_array = np.array(scores, np.float32).reshape(len(at), len(classes))
    heatmap = assemble(
        grid, at, prob_array, classes=classes, positive_class=positive_class, threshold=threshold
    )
    if tissue is None:
        tissue = np.ones((-(-size0.height // 32), -(-size0.width // 32)), bool)
    source = ExportSource(
        slide=make_info(size0, mpp, bounds),
        slide_id="0" * 64,
        model="test-model",
        heatmap=heatmap,
        grid=grid,
        indices=at,
        prob=prob_array,
        mask=TissueMask(tissue, 32 * mpp.x, Scale(32.0, 32.0), "test"),
    )
    return replace(source, **fields)


def make_info(
    size0: Size, mpp: Mpp, bounds: Box | None = None, *, power: float | None = 40.0
) -> SlideInfo:
    level = Level(size0, Scale(1.0, 1.0), Size(256, 256))
    return SlideInfo(
        path="folder/slide one.svs",
        reader="test",
        vendor="test",
        size=size0,
        levels=(level,),
        mpp=mpp,
        mpp_source="caller",
        objective_power=power,
        bounds=bounds,
    )


def default_prob(indices: NDArray[np.int32], classes: int, positive: int) -> NDArray[np.float32]:
    """(4 * row + column) / 16 modulo 1, exact in float32; the rest in equal parts."""
    score = (4 * indices[:, 0] + indices[:, 1]) % 16 / 16
    rest = (1 - score) / max(1, classes - 1)
    prob = np.repeat(rest[:, None], classes, axis=1)
    prob[:, positive] = score
    return prob.astype(np.float32)


def make_large_source(tiles: int, seed: int = 0, **options: Any) -> ExportSource:
    """`tiles` tiles in a square of scores that look like scores: mostly low, some near 1."""
    side = int(np.ceil(np.sqrt(tiles)))
    indices = np.argwhere(np.ones((side, side), bool))[:tiles]
    positive = np.random.default_rng(seed).beta(0.4, 1.2, tiles).astype(np.float32)
    size0 = Size(side * 800, side * 800)
    prob = np.stack([1 - positive, positive], axis=1)
    return make_source(size0=size0, indices=[tuple(i) for i in indices], prob=prob, **options)


def written(path: Path) -> dict[str, bytes]:
    """Every file below a folder, or the one file, by relative path."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return {p.relative_to(path.parent).as_posix(): p.read_bytes() for p in files}
