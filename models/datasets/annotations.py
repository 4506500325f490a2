"""Regions that somebody drew on a slide in Aperio ImageScope: outlines and labels.

`Annotations/Annotation/Regions/Region`, with `Vertices/Vertex` in level-0 px. The label is the
value of one of the region's `Attribute`s, or its `Text`, or else the layer's `Name`: all three are
met. The root's `MicronsPerPixel` is um/px of level 0. A region with `NegativeROA` is a hole in the
others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from models.errors import DatasetError
from wsi.geometry import Size

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

__all__ = ["SPELLINGS", "Annotations", "Region", "read_annotations"]

SPELLINGS = {
    "normal": 0,
    "benign": 1,
    "carcinoma in situ": 2,
    "in situ carcinoma": 2,
    "in situ": 2,
    "carcinoma invasive": 3,
    "invasive carcinoma": 3,
    "invasive": 3,
}
"""Label of BACH by what is written, in small letters with single spaces."""

MOST_BYTES = 128 << 20  # hundreds of regions with thousands of vertices are a few MB
FREEHAND, RECTANGLE = "0", "1"  # of `Type`; others are ellipses, arrows, rulers, points


@dataclass(frozen=True)
class Region:
    """label: None of a hole. shape0: a shapely Polygon or MultiPolygon, valid, level-0 px."""

    label: int | None
    shape0: Any


@dataclass(frozen=True)
class Annotations:
    """mpp: what the file says of level 0, um/px. mended: how many outlines were put right."""

    regions: tuple[Region, ...]
    mpp: float | None
    mended: int = 0


def read_annotations(path: Path, size0: Size, *, mend: bool = False) -> Annotations:
    """The regions on a slide of that size, one or more.

    mend: of an outline that crosses itself take all that it encloses, and cut off what lies beside
    the slide, where else either is refused. Raises DatasetError.
    """
    root = _parse(path)
    found = [
        _region(region, layer, f"{path}: region {region.get('Id')} of layer {layer.get('Id')}")
        for layer in root.iter("Annotation")
        for region in layer.iterfind("Regions/Region")
    ]
    if not any(label is not None for label, _, _ in found):
        raise DatasetError(f"{path} has no region; draw one, or take the file away")
    regions, mended = [], 0
    for label, outline0, where in found:
        shape0, is_mended = _shape(outline0, size0, where, mend=mend)
        regions.append(Region(label, shape0))
        mended += is_mended
    return Annotations(tuple(regions), _mpp(root, path), mended)


def _parse(path: Path) -> Element:
    from defusedxml import DefusedXmlException, ElementTree

    try:
        if (size_bytes := path.stat().st_size) > MOST_BYTES:
            raise DatasetError(
                f"{path} has {size_bytes:,} bytes, annotations have {MOST_BYTES:,} at the most; "
                "look what it is"
            )
        root: Element = ElementTree.fromstring(path.read_bytes(), forbid_dtd=True)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror}); copy it again") from error
    except DefusedXmlException as error:
        raise DatasetError(
            f"{path} declares a document type or entities, which no annotations need; take that out"
        ) from error
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # encodings too
        raise DatasetError(f"{path} is no XML ({error}); save the annotations again") from error
    if root.tag != "Annotations":
        raise DatasetError(
            f"{path} is no file of ImageScope: it begins with <{root.tag}>, not <Annotations>"
        )
    return root


def _region(
    region: Element, layer: Element, where: str
) -> tuple[int | None, npt.NDArray[np.float64], str]:
    """Label, outline, and what errors call it."""
    if region.get("Type", FREEHAND) not in (FREEHAND, RECTANGLE):
        raise DatasetError(
            f"{where} is of type {region.get('Type')}, an ellipse, arrow or ruler; draw it freehand"
        )
    is_hole = region.get("NegativeROA", "0") not in ("0", "")
    return None if is_hole else _label(region, layer, where), _outline0(region, where), where


def _label(region: Element, layer: Element, where: str) -> int:
    own = [*_values(region), region.get("Text") or ""]
    written = own if any(_plain(text) in SPELLINGS for text in own) else [*own, layer.get("Name")]
    texts = [text for text in written if text and text.strip()]
    labels = {SPELLINGS[_plain(text)] for text in texts if _plain(text) in SPELLINGS}
    if len(labels) == 1:
        return labels.pop()
    said = " and ".join(map(repr, texts)) or "nothing"
    why = "which contradict each other" if labels else f"but labels are {', '.join(SPELLINGS)}"
    raise DatasetError(f"{where} says {said}, {why}; label it in ImageScope, or delete it")


def _values(region: Element) -> Iterator[str]:
    for attribute in region.iterfind("Attributes/Attribute"):
        yield attribute.get("Value") or ""


def _plain(text: str | None) -> str:
    return re.sub(r"[^a-z]+", " ", (text or "").lower()).strip()


def _outline0(region: Element, where: str) -> npt.NDArray[np.float64]:
    """(n, 2) x, y, level-0 px, n of 3 or more."""
    vertices = region.findall("Vertices/Vertex")
    try:
        outline0 = np.array([[float(v.attrib[axis]) for axis in "XY"] for v in vertices])
    except (KeyError, ValueError) as error:
        raise DatasetError(f"{where} has a vertex whose X or Y is no number") from error
    if len(outline0) < 3:
        raise DatasetError(f"{where} has {len(outline0)} vertices, 3 are the fewest; delete it")
    if not np.isfinite(outline0).all():
        raise DatasetError(f"{where} has a vertex whose X or Y is not finite")
    return outline0


def _shape(
    outline0: npt.NDArray[np.float64], size0: Size, where: str, *, mend: bool
) -> tuple[Any, bool]:
    """The polygon, and whether it had to be put right."""
    import shapely

    shape0 = shapely.Polygon(outline0)
    is_off = ((outline0 < 0) | (outline0 > size0)).any(axis=1)
    if shape0.is_valid and not is_off.any():
        return shape0, False
    if not mend:
        raise DatasetError(_what_is_wrong(shape0, outline0[is_off], size0, where))
    slide0 = shapely.box(0, 0, *size0)
    try:
        fixed = shapely.make_valid(shape0, method="structure", keep_collapsed=False)
        fixed = shapely.intersection(fixed, slide0)
    except shapely.errors.ShapelyError as error:
        raise DatasetError(f"{where} cannot be mended ({error}); draw it again") from error
    if fixed.area == 0:
        raise DatasetError(f"{where} encloses nothing of the slide; delete it")
    return fixed, True


def _what_is_wrong(shape0: Any, off0: npt.NDArray[np.float64], size0: Size, where: str) -> str:
    import shapely

    way_out = "draw it again, or take --mend (mend=True in Python)"
    if len(off0):
        x0, y0 = off0[0]
        return (
            f"{where} has a vertex at x {x0:g}, y {y0:g}, off the slide of {size0.width} x "
            f"{size0.height} px; see that the file is this slide's, and {way_out}"
        )
    return f"{where} is no simple outline ({shapely.is_valid_reason(shape0)}); {way_out}"


def _mpp(root: Element, path: Path) -> float | None:
    text = root.get("MicronsPerPixel")
    try:
        return float(text) if text and float(text) else None  # 0 where ImageScope knows none
    except ValueError as error:
        raise DatasetError(f"{path}: MicronsPerPixel is {text!r}, no number") from error
