import gzip
import json
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import jsonschema
import numpy as np
import pytest
from shapely import MultiPolygon, Polygon, box
from shapely.geometry import LinearRing, shape

from tests.wsi.export.sources import make_large_source, make_source
from wsi.errors import InvalidOption
from wsi.export import ExportSource, export
from wsi.geometry import Box, Scale, Size

POINT = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
RING = {"type": "array", "items": POINT, "minItems": 4}
POLYGON = {"type": "array", "items": RING, "minItems": 1}

QUPATH = {
    "type": "object",
    "required": ["type", "features"],
    "properties": {
        "type": {"const": "FeatureCollection"},
        "features": {"type": "array", "items": {"$ref": "#/$defs/feature"}},
    },
    "$defs": {
        "feature": {
            "type": "object",
            "required": ["type", "id", "geometry", "properties"],
            "additionalProperties": False,
            "properties": {
                "type": {"const": "Feature"},
                "id": {"type": "string", "format": "uuid"},
                "geometry": {
                    "oneOf": [
                        {"properties": {"type": {"const": "Polygon"}, "coordinates": POLYGON}},
                        {
                            "properties": {
                                "type": {"const": "MultiPolygon"},
                                "coordinates": {"type": "array", "items": POLYGON},
                            }
                        },
                    ],
                    "required": ["type", "coordinates"],
                },
                "properties": {"$ref": "#/$defs/object"},
            },
        },
        "object": {
            "type": "object",
            "required": ["objectType", "classification", "isLocked", "measurements"],
            "additionalProperties": False,
            "properties": {
                "objectType": {"enum": ["tile", "detection", "annotation"]},
                "name": {"type": "string"},
                "isLocked": {"type": "boolean"},
                "measurements": {"type": "object", "additionalProperties": {"type": "number"}},
                "classification": {
                    "type": "object",
                    "required": ["name", "color"],
                    "additionalProperties": False,
                    "properties": {
                        "name": {"type": "string"},
                        "color": {
                            "type": "array",
                            "items": {"type": "integer", "minimum": 0, "maximum": 255},
                            "minItems": 3,
                            "maxItems": 3,
                        },
                    },
                },
            },
        },
    },
}


def read(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    text = gzip.decompress(content) if path.suffix == ".gz" else content
    collection: dict[str, Any] = json.loads(text)
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    jsonschema.Draft202012Validator(QUPATH, format_checker=checker).validate(collection)
    return collection


def features(source: ExportSource, folder: Path, **options: Any) -> list[dict[str, Any]]:
    return list(read(export(source, "geojson", folder / "t.geojson", **options))["features"])


def checkered_source(**options: Any) -> ExportSource:
    """IDC: a ring of 8 tiles around a hole, and one tile apart, 6 columns by 3 rows."""
    positive = np.zeros((3, 6))
    positive[:, :3] = [[0.9, 0.8, 0.9], [0.8, 0.1, 0.8], [0.9, 0.8, 0.9]]
    positive[0, 5] = 0.75
    indices = [(r, c) for r in range(3) for c in range(6)]
    prob = [[1 - positive[i], positive[i]] for i in indices]
    return make_source(size0=Size(4800, 2400), indices=indices, prob=prob, **options)


def test_a_tile_is_a_square_with_its_class_and_probabilities(tmp_path: Path):
    source = make_source(indices=[(1, 2)], prob=[[0.25, 0.75]])
    (feature,) = features(source, tmp_path)
    assert shape(feature["geometry"]).equals(box(1600, 800, 2400, 1600))
    properties = feature["properties"]
    assert properties["objectType"] == "tile"
    assert properties["classification"]["name"] == "idc"
    assert properties["measurements"] == {"prob_non_idc": 0.25, "prob_idc": 0.75}
    assert properties["isLocked"] is True


def test_a_tile_is_positive_from_the_threshold_on(tmp_path: Path):
    prob = [[0.625, 0.375], [0.75, 0.25], [0.25, 0.75]]
    source = make_source(indices=[(0, 0), (0, 1), (0, 2)], prob=prob, threshold=0.375)
    names = [f["properties"]["classification"]["name"] for f in features(source, tmp_path)]
    assert names == ["idc", "non_idc", "idc"]
    at_half = features(source, tmp_path, threshold=0.5)
    assert [f["properties"]["classification"]["name"] for f in at_half] == [
        "non_idc", "non_idc", "idc",
    ]  # fmt: skip


def test_of_many_classes_a_negative_tile_is_of_the_likeliest_and_colours_differ(tmp_path: Path):
    prob = [[0.5, 0.125, 0.375], [0.125, 0.5, 0.375], [0.25, 0.125, 0.625]]
    source = make_source(
        classes=("a", "50%\n\"b\"", "idc"), indices=[(0, 0), (0, 1), (0, 2)], prob=prob
    )  # fmt: skip
    found = [f["properties"]["classification"] for f in features(source, tmp_path)]
    assert [c["name"] for c in found] == ["a", '50%\n"b"', "idc"]
    assert len({tuple(c["color"]) for c in found}) == 3


def test_probabilities_come_back_as_the_same_float32(tmp_path: Path):
    prob = np.random.default_rng(3).random((12, 2)).astype(np.float32)
    indices = [(r, c) for r in range(3) for c in range(4)]
    found = features(make_source(indices=indices, prob=prob), tmp_path)
    back = [
        [f["properties"]["measurements"][f"prob_{c}"] for c in ("non_idc", "idc")] for f in found
    ]
    assert np.array_equal(np.array(back, np.float64).astype(np.float32), prob)


@pytest.mark.parametrize(("frame", "x", "y"), [("qupath", 800, 0), ("level0", 1800, 500)])
def test_qupaths_frame_starts_at_the_bounds_and_the_file_says_so(
    frame: str, x: int, y: int, tmp_path: Path
):
    source = make_source(bounds=Box(1000, 500, 1600, 1600), indices=[(0, 1)], prob=[[0.0, 1.0]])
    path = export(source, "geojson", tmp_path / "t.geojson", frame=frame, kind="both")
    content = read(path)
    for feature in content["features"]:
        assert shape(feature["geometry"]).bounds == (x, y, x + 800, y + 800)
    assert content["wsi"]["frame"] == frame
    assert content["wsi"]["origin0"] == ([1000, 500] if frame == "qupath" else [0, 0])


def test_ids_are_uuid5_and_stay_from_run_to_run_and_frame_to_frame(tmp_path: Path):
    def ids(frame: str = "qupath", **options: Any) -> list[str]:
        source = make_source(bounds=Box(800, 800, 2400, 1600), **options)
        found = [f["id"] for f in features(source, tmp_path, frame=frame, kind="both")]
        assert all(UUID(name).version == 5 for name in found)
        assert len(set(found)) == len(found)
        return found

    assert ids() == ids() == ids("level0")
    assert not set(ids()) & set(ids(slide_id="1" * 64))
    assert not set(ids()) & set(ids(model="another"))


def test_regions_are_outlines_with_their_holes_and_figures(tmp_path: Path):
    large, small = features(checkered_source(), tmp_path, kind="regions")
    ring = box(0, 0, 2400, 2400) - box(800, 800, 1600, 1600)
    assert shape(large["geometry"]).equals(ring)
    assert shape(small["geometry"]).equals(box(4000, 0, 4800, 800))
    properties = large["properties"]
    assert (properties["objectType"], properties["name"]) == ("annotation", "region 1")
    assert properties["classification"]["name"] == "idc"
    assert properties["measurements"]["cells"] == 8
    assert properties["measurements"]["area_mm2"] == pytest.approx(8 * 0.2 * 0.2)
    assert properties["measurements"]["mean_prob_idc"] == pytest.approx(0.85)
    assert properties["measurements"]["max_prob_idc"] == pytest.approx(0.9)


def test_regions_follow_the_threshold(tmp_path: Path):
    source = checkered_source()
    assert len(features(source, tmp_path, kind="regions", threshold=0.85)) == 4  # the corners
    assert features(source, tmp_path, kind="regions", threshold=1.0) == []


def test_parts_that_touch_by_a_corner_are_one_multipolygon(tmp_path: Path):
    source = make_source(indices=[(0, 0), (1, 1)], prob=[[0.0, 1.0], [0.0, 1.0]])
    (feature,) = features(source, tmp_path, kind="regions")
    geometry = shape(feature["geometry"])
    assert isinstance(geometry, MultiPolygon)
    assert geometry.equals(MultiPolygon([box(0, 0, 800, 800), box(800, 800, 1600, 1600)]))


def test_outer_rings_are_counter_clockwise_in_their_numbers_and_holes_clockwise(tmp_path: Path):
    for feature in features(checkered_source(), tmp_path, kind="both"):
        outer, *holes = feature["geometry"]["coordinates"]
        assert outer[0] == outer[-1]
        assert LinearRing(outer).is_ccw
        assert not any(LinearRing(hole).is_ccw for hole in holes)


def test_regions_of_cells_smaller_than_a_px_keep_their_fractions(tmp_path: Path):
    source = make_source()
    small = replace(source.heatmap, cell0=Scale(0.5, 0.5), bounds0=Box(0, 0, 2, 2))
    (feature,) = features(replace(source, heatmap=small), tmp_path, kind="regions")
    assert isinstance(shape(feature["geometry"]), Polygon)
    assert shape(feature["geometry"]).bounds == (0, 1, 2, 1.5)  # the third row of 4 cells


def test_both_are_the_regions_and_then_the_tiles(tmp_path: Path):
    source = checkered_source()
    both = features(source, tmp_path, kind="both", object_type="detection")
    types = [f["properties"]["objectType"] for f in both]
    assert types == ["annotation"] * 2 + ["detection"] * 18


def test_gz_holds_the_same_text_without_a_name_or_a_time(tmp_path: Path):
    source = checkered_source()
    plain = export(source, "geojson", tmp_path / "t.geojson")
    packed = export(source, "geojson", tmp_path / "t.geojson.gz").read_bytes()
    assert gzip.decompress(packed) == plain.read_bytes()
    assert packed[3] == 0  # flags: no file name
    assert packed[4:8] == bytes(4)  # time


@pytest.mark.parametrize("kind", ["tiles", "regions", "both"])
def test_a_slide_without_tissue_is_a_collection_without_features(kind: str, tmp_path: Path):
    assert features(make_source(indices=[], prob=[]), tmp_path, kind=kind) == []


def test_memory_does_not_grow_with_the_number_of_tiles(tmp_path: Path):
    def peak(tiles: int) -> int:
        source = make_large_source(tiles)
        tracemalloc.start()
        export(source, "geojson", tmp_path / "t.geojson.gz")
        (_, highest), _ = tracemalloc.get_traced_memory(), tracemalloc.stop()
        return highest

    few = peak(4500)  # a block and a bit
    assert peak(9000) < 1.2 * few


@pytest.mark.parametrize(
    ("option", "value"),
    [("kind", "cells"), ("frame", "um"), ("object_type", "annotation"), ("threshold", 1.5)],
)
def test_a_wrong_option_is_refused_with_its_value(option: str, value: Any, tmp_path: Path):
    with pytest.raises(InvalidOption, match=str(value)):
        export(make_source(), "geojson", tmp_path / "t.geojson", **{option: value})
    assert list(tmp_path.iterdir()) == []
