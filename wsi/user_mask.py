"""A mask that the user brings: a picture, or regions drawn in QuPath."""

import gzip
import json
import math
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from wsi.errors import InvalidMask, InvalidOption
from wsi.geometry import Box, Scale, Size, outer_box
from wsi.mask import MASK_METHODS, MASK_MPP, TissueMask
from wsi.overview import overview_size
from wsi.slide import SlideInfo, require_mpp

__all__ = ["Frame", "is_geojson", "read_mask"]

Frame = Literal["qupath", "level0"]

ASPECT_TOLERANCE = 0.01  # viewers round thumbnails, and crop a pixel or two

GZIP_MAGIC = b"\x1f\x8b"
GEOJSON_SUFFIXES = (".geojson", ".json", ".geojson.gz", ".json.gz")


class Polygon(NamedTuple):
    rings0: list[NDArray[np.float64]]  # (n, 2) x, y in level-0 px; outside first, then the holes


def is_geojson(path: str | Path) -> bool:
    """By its name; else it is a picture."""
    return Path(path).name.lower().endswith(GEOJSON_SUFFIXES)


def read_mask(path: str | Path, info: SlideInfo, frame: str | None = None) -> TissueMask:
    """The user's own mask for a slide.

    A picture shows all of level 0, at any size; what is not black (or transparent) is tissue.
    GeoJSON (also gzipped) holds polygons in level-0 pixels, counted with frame "qupath" from the
    corner of the slide's bounds, with "level0" from that of level 0; None: as the file says, which
    wsi.export does in a foreign member, else as QuPath does. A pixel of the mask, 8 um or the
    slide's own where that is coarser, is tissue where its centre lies in a polygon.
    Raises InvalidMask, InvalidOption, MissingResolution, SlideTooLarge.
    """
    if frame is not None and frame not in get_args(Frame):
        raise InvalidOption(f"frame {frame!r}: use one of {', '.join(get_args(Frame))}")
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidMask(
            f"{path}: the mask cannot be read ({error.strerror}); use {', '.join(MASK_METHODS)}, "
            "or the path of a PNG or GeoJSON file"
        ) from error
    if is_geojson(path):
        return _from_geojson(content, path, info, frame)
    return _from_picture(content, path, info)


def _raster(info: SlideInfo) -> tuple[float, Scale, Size]:
    """um/px, level-0 px a pixel, and size of the raster that tissue_mask() works on."""
    slide_mpp = require_mpp(info)
    mpp = max(MASK_MPP, *slide_mpp)
    px0 = Scale(mpp / slide_mpp.x, mpp / slide_mpp.y)
    return mpp, px0, overview_size(info, px0)


def _from_picture(content: bytes, path: Path, info: SlideInfo) -> TissueMask:
    pixels = _decode(content, path)
    size = Size(pixels.shape[1], pixels.shape[0])
    mpp, px0, own_size = _raster(info)
    if size != own_size:  # else it was written from such a mask, whose last pixels stick out
        px0 = Scale(info.size.width / size.width, info.size.height / size.height)
        _check_aspect(size, path, info)
        slide_mpp = require_mpp(info)
        mpp = float((px0.x * slide_mpp.x * px0.y * slide_mpp.y) ** 0.5)
    if not pixels.any():
        raise InvalidMask(f"{path}: the mask is all black; paint the tissue in any other colour")
    return TissueMask(pixels, mpp, px0, "user")


def _decode(content: bytes, path: Path) -> NDArray[np.bool_]:
    """True where a channel is not 0, and opaque: bool (height, width)."""
    import cv2

    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:  # an empty file, or more than 2**30 pixels
        pixels = None
    if pixels is None:
        raise InvalidMask(
            f"{path}: the mask is no picture that can be read; pass a PNG, or regions as .geojson"
        )
    if pixels.ndim == 2:
        return np.asarray(pixels != 0)
    painted: NDArray[np.bool_] = (pixels[..., :3] != 0).any(axis=2)
    return painted & (pixels[..., 3] != 0) if pixels.shape[2] == 4 else painted


def _check_aspect(size: Size, path: Path, info: SlideInfo) -> None:
    """Both axes shrunk alike, to a pixel of rounding or 1 %."""
    slide_mpp = require_mpp(info)
    across = info.size.width * slide_mpp.x
    down = info.size.height * slide_mpp.y
    for square in (across / down, info.size.width / info.size.height):  # in um, or in pixels
        rounding = square / size.height + 1 / size.height
        tolerance = max(ASPECT_TOLERANCE * square, rounding)
        if abs(size.width / size.height - square) <= tolerance:
            return
    raise InvalidMask(
        f"{path}: the mask is {size.width} x {size.height} px, which is not the shape of the slide "
        f"({info.size.width} x {info.size.height} px); "
        "export it over the whole of the slide, uncropped, at any size"
    )


def _from_geojson(content: bytes, path: Path, info: SlideInfo, frame: str | None) -> TissueMask:
    parsed = _parse(content, path)
    corner0 = _stated_corner0(parsed, path, info) if frame is None else _corner0(info, frame)
    try:
        polygons = list(_polygons(parsed, path, corner0))
    except RecursionError as error:  # some Pythons parse deeper than they call
        raise InvalidMask(
            f"{path}: the mask is no valid GeoJSON (it is nested too deeply)"
        ) from error
    if not polygons:
        raise InvalidMask(f"{path}: no Polygon or MultiPolygon in the file; draw closed regions")
    mpp, px0, size = _raster(info)
    tissue = np.zeros((size.height, size.width), np.bool_)
    for polygon in polygons:
        _fill(tissue, [ring / px0 for ring in polygon.rings0])
    if not tissue.any():
        points = np.concatenate([polygon.rings0[0] for polygon in polygons])
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
        raise InvalidMask(
            f"{path}: the regions lie at x {left:.0f}-{right:.0f}, y {top:.0f}-{bottom:.0f} px and "
            f"cover no {mpp:g} um pixel of the slide (0-{info.size.width}, 0-{info.size.height}); "
            "use level-0 pixels, and say where they count from (--mask-frame qupath or level0)"
        )
    return TissueMask(tissue, mpp, px0, "user")


def _corner0(info: SlideInfo, frame: str) -> tuple[float, float]:
    return (info.bounds0.x, info.bounds0.y) if frame == "qupath" else (0, 0)


def _stated_corner0(parsed: Any, path: Path, info: SlideInfo) -> tuple[float, float]:
    """The level-0 px that the coordinates count from, by what our own exports say of themselves."""
    about = parsed.get("wsi") if isinstance(parsed, dict) else None
    if not isinstance(about, dict):
        return _corner0(info, "qupath")
    match about.get("origin0"):
        case [int() | float() as x0, int() | float() as y0] if abs(x0) + abs(y0) < math.inf:
            return x0, y0  # exact, even where another reader sees other bounds
    frame = about.get("frame", "qupath")
    if frame not in get_args(Frame):
        raise InvalidMask(
            f"{path}: its frame is {frame!r}; say where it counts from, by --mask-frame "
            f"{' or '.join(get_args(Frame))}"
        )
    return _corner0(info, frame)


def _parse(content: bytes, path: Path) -> Any:
    try:
        return json.loads(gzip.decompress(content) if content.startswith(GZIP_MAGIC) else content)
    except (ValueError, OSError, EOFError, zlib.error, RecursionError) as error:
        raise InvalidMask(
            f"{path}: the mask is no valid GeoJSON ({error}); export it again, in QuPath "
            "by File > Export objects as GeoJSON"
        ) from error


def _polygons(node: Any, path: Path, corner0: tuple[float, float]) -> Iterator[Polygon]:
    """Every polygon below a GeoJSON object, or below a list of them as older QuPaths write."""
    if isinstance(node, list):
        for item in node:
            yield from _polygons(item, path, corner0)
        return
    kind = node.get("type") if isinstance(node, dict) else None
    if kind == "Polygon":
        yield _polygon(node.get("coordinates"), path, corner0)
    elif kind == "MultiPolygon":
        polygons = node.get("coordinates") or []
        for rings in polygons if isinstance(polygons, list) else [polygons]:
            yield _polygon(rings, path, corner0)
    elif kind in ("FeatureCollection", "Feature", "GeometryCollection"):
        for name in ("features", "geometry", "geometries"):
            yield from _polygons(node.get(name) or [], path, corner0)


def _polygon(rings: Any, path: Path, corner0: tuple[float, float]) -> Polygon:
    try:
        rings0 = [np.array([point[:2] for point in ring], np.float64) for ring in rings]
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise InvalidMask(f"{path}: a polygon's coordinates are no pairs of numbers") from error
    if not rings0 or not all(
        ring.shape == (max(3, len(ring)), 2) and np.isfinite(ring).all() for ring in rings0
    ):
        raise InvalidMask(f"{path}: a polygon has a ring of fewer than 3 finite points")
    return Polygon([ring + corner0 for ring in rings0])


def _fill(tissue: NDArray[np.bool_], rings: Sequence[NDArray[np.float64]]) -> None:
    """Sets the pixels whose centre is inside, by the even-odd rule over all rings.

    rings: (n, 2) x, y in pixels of the mask. Where an edge crosses a row of centres it turns over
    every pixel to the right of it, so that a running exclusive or along the row is the inside.
    """
    points = np.concatenate(rings)
    box = outer_box(*points.min(axis=0), *points.max(axis=0))
    box = box.intersection(Box(0, 0, tissue.shape[1], tissue.shape[0]))
    if box.is_empty:
        return
    turns = np.zeros((box.height, box.width), np.bool_)
    for ring in rings:
        rows, columns = _crossings(ring - (box.x, box.y), box.height)
        columns = np.maximum(columns, 0)
        inside = columns < box.width
        np.logical_xor.at(turns, (rows[inside], columns[inside]), True)
    filled = np.logical_xor.accumulate(turns, axis=1)
    tissue[box.y : box.bottom, box.x : box.right] |= filled


def _crossings(
    ring: NDArray[np.float64], height: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows whose centres the edges cross, and the first column whose centre is to the right."""
    start, end = ring, np.roll(ring, -1, axis=0)
    upper, lower = np.minimum(start[:, 1], end[:, 1]), np.maximum(start[:, 1], end[:, 1])
    first = np.clip(np.ceil(upper - 0.5), 0, height).astype(np.int64)
    stop = np.clip(np.ceil(lower - 0.5), 0, height).astype(np.int64)
    count = np.maximum(stop - first, 0)
    edge = np.repeat(np.arange(len(ring)), count)
    rows = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    run, rise = (end - start)[edge].T
    x = start[edge, 0] + (rows + 0.5 - start[edge, 1]) * run / rise
    return rows, np.ceil(np.clip(x, -1e9, 1e9) - 0.5).astype(np.int64)
