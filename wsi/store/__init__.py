"""Everything that knows zarr paths: tiles, scores and heatmaps on disk."""

from wsi.store.heatmaps import NGFF_VERSIONS, StoredHeatmap, read_heatmap, write_heatmap

__all__ = ["NGFF_VERSIONS", "StoredHeatmap", "read_heatmap", "write_heatmap"]
