"""Tile scores as the table that WSInfer writes: one line a tile."""

import csv
from collections.abc import Iterator
from pathlib import Path

from wsi.export.output import partial_file
from wsi.export.source import ExportSource
from wsi.export.tiles import TileBlock, tile_blocks

__all__ = ["write"]


def write(source: ExportSource, path: Path) -> Path:
    """Columns minx, miny, width, height (level-0 px, not shifted by bounds), prob_<class> in order,
    then one a channel by its name.

    Probabilities have the fewest digits that give the same float32 again. The tiles of the right
    and bottom edge may reach off the slide.
    """
    with partial_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        header = ["minx", "miny", "width", "height"]
        header += [f"prob_{name}" for name in source.heatmap.classes]
        header += source.channels
        csv.writer(file, lineterminator="\n").writerow(header)
        for block in tile_blocks(source):
            file.writelines(_lines(block))
    return path


def _lines(block: TileBlock) -> Iterator[str]:
    sizes0 = block.ends0 - block.starts0
    columns = [*block.starts0.T.tolist(), *sizes0.T.tolist(), *block.texts]
    for row in zip(*columns, strict=True):
        yield ",".join(map(str, row)) + "\n"
