"""Tile positions and scores in HDF5, as CLAM, TRIDENT and WSInfer read them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wsi.errors import InvalidOption
from wsi.export.output import partial_file
from wsi.export.source import ExportSource
from wsi.geometry import round_half_up

if TYPE_CHECKING:
    import h5py

__all__ = ["LAYOUTS", "write"]

LAYOUTS = ("level0", "target")

CHUNK_ROWS = 16_384


def write(source: ExportSource, path: Path, *, layout: str = "level0") -> Path:
    """Datasets `coords` int64 (n, 2), x and y of the top left on level 0 (not shifted by bounds),
    `size0` int64 (n, 2), the exact width and height there, `prob` float32 (n, classes), and
    float32 (n,) in `channels/<name>` for each channel.

    The three programs mean different things by the attribute `patch_size`: level-0 px (CLAM,
    WSInfer: px of `patch_level`, which is 0), or px at `target_magnification` (TRIDENT).
    layout "level0" states level-0 px and a target magnification equal to the slide's, which is true
    for all three: each reads the field that was scored. layout "target" is TRIDENT's own form, with
    the model's tile size at the model's resolution; it has no `patch_level`, so that CLAM and
    WSInfer refuse it instead of reading a small corner of each tile. Raises InvalidOption.
    """
    import h5py

    if layout not in LAYOUTS:
        raise InvalidOption(f"HDF5 layout {layout!r}: use one of {', '.join(LAYOUTS)}")
    with partial_file(path) as partial, h5py.File(partial, "w") as file:
        coords = _add(file, "coords", source.grid.xy0_from_indices(source.indices))
        coords.attrs.update(_attributes(source) | _patch(source, layout))
        _add(file, "size0", _sizes0(source))
        prob = _add(file, "prob", source.prob)
        prob.attrs["classes"] = list(source.heatmap.classes)
        prob.attrs["positive_class"] = source.heatmap.positive_class
        prob.attrs["threshold"] = source.heatmap.threshold
        for name, values in source.channels.items():
            _add(file, f"channels/{name}", values)
    return path


def _add(file: "h5py.File", name: str, values: Any) -> "h5py.Dataset":
    """Chunked and compressed, without times, so that equal input gives equal bytes."""
    rows = max(1, min(CHUNK_ROWS, len(values)))
    return file.create_dataset(
        name,
        data=values,
        maxshape=(None, *values.shape[1:]),
        chunks=(rows, *values.shape[1:]),
        compression="gzip",
        compression_opts=4,
        shuffle=True,
        track_times=False,
    )


def _sizes0(source: ExportSource) -> Any:
    rows, columns = source.indices.T
    grid = source.grid
    widths, heights = grid.ends_x0 - grid.starts_x0, grid.ends_y0 - grid.starts_y0
    return np.stack([widths[columns], heights[rows]], axis=1)


def _attributes(source: ExportSource) -> dict[str, Any]:
    """What both layouts state. No folder: it would be that of another machine."""
    grid = source.grid
    return {
        "name": Path(source.slide_name).stem,
        "level0_width": grid.size0.width,
        "level0_height": grid.size0.height,
        "level_dim": list(grid.size0),
        "frame": "level-0 px from the slide's top left corner; bounds not subtracted",
        "slide": source.slide_id,
        "model": source.model,
        "tile_px": grid.tile_px,
        "tile_mpp": grid.mpp,
        "stride_px": grid.stride_px,
        "slide_mpp": list(grid.slide_mpp),
    }


def _patch(source: ExportSource, layout: str) -> dict[str, Any]:
    """Sizes. Where a slide's pixels are not square, those along x (see `size0` for both)."""
    grid = source.grid
    tile0, overlap0 = grid.tile0.x, grid.tile0.x - grid.stride0.x
    common = {"patch_size_level0": round_half_up(tile0)}
    if layout == "target":
        return common | {
            "patch_size": grid.tile_px,
            "level0_magnification": _magnification(grid.slide_mpp.x),
            "target_magnification": _magnification(grid.mpp),
            "overlap": grid.tile_px - grid.stride_px,
        }
    magnification = source.slide.objective_power or _magnification(grid.slide_mpp.x)
    return common | {
        "patch_size": round_half_up(tile0),
        "patch_level": 0,
        "downsample": [1.0, 1.0],
        "downsampled_level_dim": list(grid.size0),
        "level0_magnification": magnification,
        "target_magnification": magnification,
        "overlap": round_half_up(overlap0),
    }


def _magnification(mpp: float) -> float:
    """TRIDENT's rule, 10 um/px at 1x: it turns magnifications into resolutions by it."""
    return 10 / mpp
