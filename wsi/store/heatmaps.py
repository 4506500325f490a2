"""A heatmap on disk: an OME-NGFF image whose label image is the tissue."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wsi.channels import CHANNELS
from wsi.errors import InvalidOption, StoreIncomplete
from wsi.geometry import Scale
from wsi.store.folder import (
    ATTRIBUTES,
    SCHEMA_VERSION,
    create_group,
    open_group,
    read_attributes,
    written_aside,
)

if TYPE_CHECKING:
    import zarr

__all__ = [
    "NGFF_VERSIONS",
    "OpenHeatmap",
    "StoredHeatmap",
    "open_heatmap",
    "read_heatmap",
    "write_heatmap",
]

NGFF_VERSIONS = ("0.5", "0.4")

CHUNK = 512  # cells a side of a chunk

LABEL = "tissue"


@dataclass(frozen=True)
class StoredHeatmap:
    """What read_heatmap() gives: the arguments of write_heatmap(), from disk."""

    levels: tuple[NDArray[np.float32], ...]  # each (classes + channels, rows, columns); NaN: none
    labels: tuple[NDArray[np.uint8], ...]  # each (rows, columns); 1 tissue, 0 none
    classes: tuple[str, ...]
    cell_um: Scale
    origin_um: Scale
    attributes: dict[str, Any]
    ngff: str
    channels: tuple[str, ...]


@dataclass(frozen=True)
class OpenHeatmap:
    """What open_heatmap() gives."""

    levels: "tuple[zarr.Array[Any], ...]"  # to be read piece by piece
    classes: tuple[str, ...]
    attributes: dict[str, Any]
    channels: tuple[str, ...]


def write_heatmap(
    path: Path,
    levels: Sequence[NDArray[np.float32]],
    labels: Sequence[NDArray[np.uint8]],
    *,
    cell_um: Scale,
    origin_um: Scale,
    classes: Sequence[str],
    attributes: Mapping[str, Any],
    channels: Sequence[str] = (),
    shown: str | None = None,
    ngff: str = "0.5",
    overwrite: bool = False,
) -> None:
    """Writes a pyramid, largest level first, and its tissue labels, aside and then in place.

    levels: float32 (classes + channels, rows, columns), NaN where there is no tissue; labels: one
    uint8 (rows, columns) for each, 1 on tissue. Each level has half the rows and columns of the one
    before, rounded up: a cell of level k covers 2**k by 2**k cells of level 0.
    cell_um: sides of a cell of level 0. origin_um: top left corner of its first cell, in um from
    the top left corner of the slide's level 0 (bounds not subtracted), which is the origin of the
    file's physical space. NGFF places pixel centres, so every level's translation is origin_um plus
    half its own cell.
    attributes: JSON, whatever makes the heatmap again. channels: names of the planes that follow
    those of the classes, as in wsi.channels.CHANNELS. shown: the class that viewers show at first
    (default: the last). ngff: "0.5" (zarr v3) or "0.4" (zarr v2).
    Raises InvalidOption, ResultExists.
    """
    names = (*classes, *channels)
    _check(path, levels, labels, names, ngff)
    with written_aside(path, overwrite=overwrite) as partial:
        group = create_group(partial, 3 if ngff == "0.5" else 2)
        _write_levels(group, levels, ("c", "y", "x"))
        tissue = group.create_group("labels").create_group(LABEL)
        _write_levels(tissue, labels, ("y", "x"))
        places = [_placement(level, cell_um, origin_um) for level in range(len(levels))]
        _describe(group, path.stem, places, _omero(names, shown or classes[-1]), ngff)
        group.attrs[ATTRIBUTES] = {
            "kind": "heatmap",
            "schema_version": SCHEMA_VERSION,
            "ngff": ngff,
            "classes": list(classes),
            "channels": list(channels),
            "cell_um": list(cell_um),
            "origin_um": list(origin_um),
            "attributes": dict(attributes),
        }


def read_heatmap(path: Path) -> StoredHeatmap:
    """Everything that write_heatmap() was given. Raises StoreIncomplete, StoreMismatch."""
    group = open_group(path, "heatmap")
    own = read_attributes(group)
    try:
        levels, labels = (_read_levels(each) for each in (group, group[f"labels/{LABEL}"]))
        if len(levels) != len(labels):
            raise KeyError(f"{len(levels)} levels and {len(labels)} of tissue")
        return StoredHeatmap(
            levels=tuple(levels),
            labels=tuple(labels),
            classes=tuple(own["classes"]),
            cell_um=Scale(*own["cell_um"]),
            origin_um=Scale(*own["origin_um"]),
            attributes=own["attributes"],
            ngff=own["ngff"],
            channels=tuple(own.get("channels", ())),  # results of before there were any have none
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise _damaged(path, error) from error


def open_heatmap(path: Path) -> "OpenHeatmap":
    """As read_heatmap(), the levels left on disk. Raises StoreIncomplete, StoreMismatch."""
    group = open_group(path, "heatmap")
    own = read_attributes(group)
    try:
        levels = tuple(_whole_levels(group))
    except KeyError as error:
        raise _damaged(path, error) from error
    channels = tuple(own.get("channels", ()))
    return OpenHeatmap(levels, tuple(own["classes"]), own["attributes"], channels)


def _check(
    path: Path,
    levels: Sequence[NDArray[np.float32]],
    labels: Sequence[NDArray[np.uint8]],
    names: Sequence[str],
    ngff: str,
) -> None:
    if ngff not in NGFF_VERSIONS:
        raise InvalidOption(f"OME-NGFF version {ngff}: use one of {', '.join(NGFF_VERSIONS)}")
    shapes = [level.shape for level in levels]
    if not shapes or shapes[0][0] != len(names):
        raise InvalidOption(f"{path}: levels {shapes} do not have a plane for each of {names}")
    if [s[1:] for s in shapes] != [label.shape for label in labels]:
        raise InvalidOption(f"{path}: the tissue levels are not as large as the heatmap's {shapes}")
    for large, small in itertools.pairwise(shapes):
        if small != (large[0], -(-large[1] // 2), -(-large[2] // 2)):
            raise InvalidOption(f"{path}: level {small} is not half of {large}, rounded up")


def _write_levels(
    group: "zarr.Group", levels: Sequence[NDArray[Any]], axes: tuple[str, ...]
) -> None:
    v2: dict[str, Any] = {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
    for number, pixels in enumerate(levels):
        chunks = tuple(
            1 if axis == "c" else max(1, min(CHUNK, n))
            for axis, n in zip(axes, pixels.shape, strict=True)
        )
        is_v3 = group.metadata.zarr_format == 3
        array = group.create_array(
            str(number),
            shape=pixels.shape,
            dtype=pixels.dtype,
            chunks=chunks,
            fill_value=np.nan if pixels.dtype.kind == "f" else 0,
            config={"write_empty_chunks": True},
            **({"dimension_names": axes} if is_v3 else v2),
        )
        array[...] = pixels


def _read_levels(group: Any) -> list[NDArray[Any]]:
    return [np.asarray(array[...]) for array in _whole_levels(group)]


def _whole_levels(group: Any) -> "list[zarr.Array[Any]]":
    """Raises KeyError where a chunk is missing, which zarr takes for one full of NaN or 0."""
    arrays = dict(group.arrays())
    levels = [arrays[str(number)] for number in range(max(1, len(arrays)))]
    for array in levels:
        if array.nchunks_initialized < array.nchunks:
            raise KeyError(f"chunks of {array.path}")
    return levels


def _damaged(path: Path, error: Exception) -> StoreIncomplete:
    return StoreIncomplete(
        f"{path}: a part of it is damaged or missing ({error}); make the result again"
    )


def _placement(level: int, cell_um: Scale, origin_um: Scale) -> tuple[Scale, Scale]:
    """Sides of a cell of that level, and the centre of its first cell, um."""
    cell = Scale(cell_um.x * 2**level, cell_um.y * 2**level)
    return cell, Scale(origin_um.x + cell.x / 2, origin_um.y + cell.y / 2)


def _multiscale(
    name: str, places: Sequence[tuple[Scale, Scale]], ngff: str, *, channels: bool
) -> dict[str, Any]:
    space = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"]
    scale1, shift0 = ([1.0], [0.0]) if channels else ([], [])
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [
                {"type": "scale", "scale": [*scale1, cell.y, cell.x]},
                {"type": "translation", "translation": [*shift0, centre.y, centre.x]},
            ],
        }
        for level, (cell, centre) in enumerate(places)
    ]
    version = {} if ngff == "0.5" else {"version": ngff}
    axes = [{"name": "c", "type": "channel"}, *space] if channels else space
    return version | {"name": name, "axes": axes, "datasets": datasets, "type": "mean"}


def _describe(
    group: Any,
    name: str,
    places: Sequence[tuple[Scale, Scale]],
    omero: dict[str, Any],
    ngff: str,
) -> None:
    """The OME metadata of the image, of its list of labels and of the label image."""
    image = {"multiscales": [_multiscale(name, places, ngff, channels=True)]}
    _put_ome(group, image | {"omero": omero}, ngff)
    _put_ome(group["labels"], {"labels": [LABEL]}, ngff)
    label = {"multiscales": [_multiscale(LABEL, places, ngff, channels=False)]}
    _put_ome(group[f"labels/{LABEL}"], label | {"image-label": _image_label(ngff)}, ngff)


def _omero(names: Sequence[str], shown: str) -> dict[str, Any]:
    """How viewers show it at first: one class alone, in red, from 0 to 1."""
    channels = [
        {"label": name, "color": "FF0000", "window": _window(name), "active": name == shown}
        for name in names
    ]
    return {"channels": channels}


def _window(name: str) -> dict[str, float]:
    largest = CHANNELS[name].largest if name in CHANNELS else 1.0
    return {"min": 0.0, "max": largest, "start": 0.0, "end": largest}


def _image_label(ngff: str) -> dict[str, Any]:
    version = {} if ngff == "0.5" else {"version": ngff}
    return version | {
        "colors": [{"label-value": 1, "rgba": [0, 160, 80, 96]}],
        "properties": [{"label-value": 1, "class": LABEL}],
        "source": {"image": "../../"},
    }


def _put_ome(group: Any, metadata: dict[str, Any], ngff: str) -> None:
    if ngff == "0.5":
        group.attrs["ome"] = {"version": ngff} | metadata
    else:
        group.attrs.update(metadata)
