"""GeoJSON for QuPath: tiles with their scores, and regions as outlines. Streamed.

The form is the one QuPath (0.4 and later) writes itself: a FeatureCollection whose features have a
UUID, `objectType`, `classification`, `measurements` and `isLocked`. Frames: see FRAMES. Rings are
closed; outer rings are counter-clockwise and holes clockwise as RFC 7946 wants it of the numbers,
which looks the other way round on a screen, where y points down.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid5

import numpy as np
from numpy.typing import NDArray

from wsi.errors import InvalidOption
from wsi.export.output import partial_file
from wsi.export.source import ExportSource
from wsi.export.tiles import TileBlock, tile_blocks
from wsi.geometry import Box
from wsi.regions import Region, regions
from wsi.slide import RGB

if TYPE_CHECKING:
    from shapely import MultiPolygon, Polygon

__all__ = ["FRAMES", "KINDS", "stream", "write"]

KINDS = ("tiles", "regions", "both")

FRAMES = ("qupath", "level0")
"""qupath: px of level 0 from the corner of the slide's bounds, to which QuPath crops a slide;
level0: from the corner of level 0. They differ where the file has bounds."""

GZIP_LEVEL = 2
"""Of ISA-L: 4,673 tiles, 1.8 MB, in 2.1 ms to 0.295 MB; zlib at its level 4 takes 14 ms for 0.292.
Most of what is left are the ids, which no level shrinks."""

FEATURES_A_WRITE = 1024

POSITIVE_COLOR: RGB = (200, 30, 30)
OTHER_COLORS: tuple[RGB, ...] = (
    (90, 130, 180), (120, 160, 90), (170, 130, 70), (130, 110, 170), (110, 110, 110),
)  # fmt: skip

TILE = (
    '{"type":"Feature","id":"%s","geometry":{"type":"Polygon","coordinates":'
    "[[[%d,%d],[%d,%d],[%d,%d],[%d,%d],[%d,%d]]]},"
)


def write(
    source: ExportSource,
    path: Path,
    *,
    kind: str = "tiles",
    threshold: float | None = None,
    frame: str = "qupath",
    object_type: str = "tile",
) -> Path:
    """Tiles, regions of the positive class at `threshold` (default: the heatmap's), or both.

    A tile is of the positive class where its probability is at least the threshold, else of the
    likeliest other class. `path` ending in .gz is compressed. object_type of the tiles: "tile" or
    "detection". Ids are UUIDv5 of slide, model and position, the same in every run and frame, so
    that QuPath recognises what it has. Memory is one block of tiles, however many there are.
    Raises InvalidOption.
    """
    pieces = stream(source, kind=kind, threshold=threshold, frame=frame, object_type=object_type)
    with _opened(path) as file:
        file.writelines(pieces)
    return path


def stream(
    source: ExportSource,
    *,
    kind: str = "tiles",
    threshold: float | None = None,
    frame: str = "qupath",
    object_type: str = "tile",
) -> Iterator[bytes]:
    """What write() writes, uncompressed, some hundred kB at a time. InvalidOption comes at once."""
    _check("kind", kind, KINDS)
    _check("frame", frame, FRAMES)
    _check("object_type", object_type, ("tile", "detection"))
    at = float(source.heatmap.threshold if threshold is None else threshold)
    if not 0 <= at <= 1:
        raise InvalidOption(f"threshold {at}: use a probability, 0 to 1")
    origin0 = source.slide.bounds0 if frame == "qupath" else Box(0, 0, *source.slide.size)
    features = _joined(_features(source, kind, at, origin0, object_type))
    return chain((_head(source, at, frame, origin0),), features, (b"\n]}\n",))


def _check(name: str, value: str, allowed: Iterable[str]) -> None:
    if value not in allowed:
        raise InvalidOption(f"GeoJSON {name} {value!r}: use one of {', '.join(allowed)}")


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The file to write, compressed by its suffix; without a name or a time in the gzip header."""
    from isal import igzip

    with ExitStack() as stack:
        partial = stack.enter_context(partial_file(path))
        file: IO[bytes] = stack.enter_context(partial.open("wb"))
        if path.suffix == ".gz":
            gzip: Any = igzip.IGzipFile  # its arguments have no types
            file = stack.enter_context(gzip("", "wb", GZIP_LEVEL, file, mtime=0))
        yield file


def _head(source: ExportSource, threshold: float, frame: str, origin0: Box) -> bytes:
    """The collection up to its features; what it is about goes into a foreign member."""
    about = {
        "frame": frame,
        "unit": "level-0 px",
        "origin0": [origin0.x, origin0.y],
        "slide": source.slide_id,
        "model": source.model,
        "positive_class": source.heatmap.positive_class,
        "threshold": threshold,
    }
    text = json.dumps(about, ensure_ascii=False)
    return f'{{"type":"FeatureCollection","wsi":{text},"features":['.encode()


def _joined(features: Iterator[str]) -> Iterator[bytes]:
    """Many at a time: each write to a compressor costs as much as a feature."""
    separator = "\n"
    while batch := list(islice(features, FEATURES_A_WRITE)):
        yield (separator + ",\n".join(batch)).encode()
        separator = ",\n"


def _features(
    source: ExportSource, kind: str, threshold: float, origin0: Box, object_type: str
) -> Iterator[str]:
    if kind in ("regions", "both"):
        yield from _region_features(source, threshold, origin0)
    if kind in ("tiles", "both"):
        yield from _tile_features(source, threshold, origin0, object_type)


def _tile_features(
    source: ExportSource, threshold: float, origin0: Box, object_type: str
) -> Iterator[str]:
    ident = _identity(source)
    tails = _tile_tails(source, object_type)
    for block in tile_blocks(source):
        chosen = _classify(source, block.prob, threshold).tolist()
        ids = (ident(f"tile:{x}:{y}") for x, y in block.starts0.tolist())
        corners = zip(*_corners(block, origin0), strict=True)
        texts = zip(*block.texts, strict=True)
        for name, (left, top, right, bottom), of, prob in zip(
            ids, corners, chosen, texts, strict=True
        ):
            ring = (left, top, right, top, right, bottom, left, bottom, left, top)
            yield TILE % (name, *ring) + tails[of] % prob


def _corners(block: TileBlock, origin0: Box) -> list[list[int]]:
    """Left, top, right, bottom of each tile in the frame that starts at `origin0`."""
    starts = block.starts0 - [origin0.x, origin0.y]
    ends = block.ends0 - [origin0.x, origin0.y]
    return [*starts.T.tolist(), *ends.T.tolist()]


def _tile_tails(source: ExportSource, object_type: str) -> list[str]:
    """What follows the geometry, one template a class, with a place for each number."""
    names = [*(f"prob_{name}" for name in source.heatmap.classes), *source.channels]
    measured = ",".join(f"{json.dumps(name)}:\0" for name in names)
    tails = (
        f'"properties":{{"objectType":"{object_type}","classification":{_class(source, index)},'
        f'"isLocked":true,"measurements":{{{measured}}}}}}}'
        for index in range(len(source.heatmap.classes))
    )
    return [tail.replace("%", "%%").replace("\0", "%s") for tail in tails]


def _classify(
    source: ExportSource, prob: NDArray[np.float32], threshold: float
) -> NDArray[np.int64]:
    """Index of each tile's class: int64 (n,)."""
    positive = source.heatmap.classes.index(source.heatmap.positive_class)
    if prob.shape[1] == 1:
        return np.zeros(len(prob), np.int64)
    others = prob.copy()
    others[:, positive] = -np.inf
    return np.where(prob[:, positive] >= threshold, positive, others.argmax(axis=1))


def _class(source: ExportSource, index: int) -> str:
    """QuPath's classification of a class, as JSON."""
    classes, positive = source.heatmap.classes, source.heatmap.positive_class
    others = [name for name in classes if name != positive]
    color = POSITIVE_COLOR
    if classes[index] != positive:
        color = OTHER_COLORS[others.index(classes[index]) % len(OTHER_COLORS)]
    return json.dumps({"name": classes[index], "color": color}, separators=(",", ":"))


def _region_features(source: ExportSource, threshold: float, origin0: Box) -> Iterator[str]:
    ident = _identity(source)
    heatmap = source.heatmap
    classification = _class(source, heatmap.classes.index(heatmap.positive_class))
    for number, region in enumerate(regions(heatmap, threshold), start=1):
        x, y = _first_corner(region)
        name = ident(f"region:{heatmap.positive_class}:{threshold!r}:{x}:{y}")
        measured = json.dumps(_measurements(region, heatmap.positive_class))
        yield (
            f'{{"type":"Feature","id":"{name}","geometry":{_geometry(region.polygon, origin0)},'
            f'"properties":{{"objectType":"annotation","name":"region {number}",'
            f'"classification":{classification},"isLocked":true,"measurements":{measured}}}}}'
        )


def _first_corner(region: Region) -> tuple[float, float]:
    """The topmost, then leftmost corner: no two regions touch, so it is of this one alone."""
    import shapely

    corners = shapely.get_coordinates(region.polygon)
    x, y = corners[np.lexsort(corners.T)[0]].tolist()
    return x, y


def _measurements(region: Region, positive_class: str) -> dict[str, float]:
    stats = region.stats
    return {
        "area_mm2": stats.area_mm2,
        f"mean_prob_{positive_class}": stats.mean_prob,
        f"max_prob_{positive_class}": stats.max_prob,
        "cells": stats.cells,
    }


def _geometry(polygon: "Polygon | MultiPolygon", origin0: Box) -> str:
    parts = [
        "[" + ",".join(_ring(r.coords, origin0) for r in (p.exterior, *p.interiors)) + "]"
        for p in getattr(polygon, "geoms", [polygon])
    ]
    if len(parts) == 1:
        return f'{{"type":"Polygon","coordinates":{parts[0]}}}'
    return f'{{"type":"MultiPolygon","coordinates":[{",".join(parts)}]}}'


def _ring(coords: Iterable[tuple[float, float]], origin0: Box) -> str:
    return (
        "["
        + ",".join(f"[{_number(x - origin0.x)},{_number(y - origin0.y)}]" for x, y in coords)
        + "]"
    )


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


def _identity(source: ExportSource) -> Callable[[str], str]:
    """UUIDv5 in the namespace of this slide and model.

    As uuid.uuid5(), but a million ids take 1.6 s instead of 5.7.
    """
    space = uuid5(NAMESPACE_URL, f"urn:wsi-heatmap:{source.slide_id}:{source.model}")
    start = hashlib.sha1(space.bytes, usedforsecurity=False)

    def ident(name: str) -> str:
        digest = start.copy()
        digest.update(name.encode())
        h = digest.hexdigest()
        variant = "89ab"[int(h[16], 16) & 3]
        return f"{h[:8]}-{h[8:12]}-5{h[13:16]}-{variant}{h[17:20]}-{h[20:32]}"

    return ident
