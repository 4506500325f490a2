"""Everything that knows zarr paths: tiles, scores and heatmaps on disk."""

from wsi.store.heatmaps import (
    NGFF_VERSIONS,
    OpenHeatmap,
    StoredHeatmap,
    open_heatmap,
    read_heatmap,
    write_heatmap,
)
from wsi.store.rows import RowWriter
from wsi.store.scores import SCORE_SHARD, ScoreStore
from wsi.store.tiles import TileStore, shard_tiles

__all__ = [
    "NGFF_VERSIONS",
    "SCORE_SHARD",
    "OpenHeatmap",
    "RowWriter",
    "ScoreStore",
    "StoredHeatmap",
    "TileStore",
    "open_heatmap",
    "read_heatmap",
    "shard_tiles",
    "write_heatmap",
]
