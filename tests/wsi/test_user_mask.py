"""Masks that a user brings, against shapely and by hand."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from PIL import Image

from tests.wsi.export.sources import make_source
from wsi.errors import InvalidMask, InvalidOption, MissingResolution
from wsi.export import geojson
from wsi.geometry import Box, Mpp
from wsi.mask import TissueMask, mask_image
from wsi.overview import read_overview
from wsi.readers.array import ArraySlide
from wsi.slide import SlideInfo
from wsi.user_mask import read_mask

Ring = list[list[float]]


def info(
    width: int = 400, height: int = 300, mpp: float | None = 8.0, bounds: Box | None = None
) -> SlideInfo:
    pixels = np.broadcast_to(np.uint8(255), (height, width, 3))
    return ArraySlide([pixels], Mpp(mpp, mpp) if mpp else None, bounds=bounds).info


def rectangle(left: float, top: float, right: float, bottom: float) -> Ring:
    return [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]


def feature(*rings: Ring) -> dict[str, Any]:
    geometry = {"type": "Polygon", "coordinates": list(rings)}
    return {"type": "Feature", "properties": {"objectType": "annotation"}, "geometry": geometry}


def write(folder: Path, content: object, name: str = "regions.geojson") -> Path:
    path = folder / name
    text = content if isinstance(content, str) else json.dumps(content)
    data = text.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def write_picture(folder: Path, pixels: NDArray[np.uint8], name: str = "mask.png") -> Path:
    path = folder / name
    Image.fromarray(pixels).save(path)
    return path


def true_box(mask: TissueMask) -> Box:
    """The box of the tissue, which must be all of it."""
    rows, columns = np.nonzero(mask.tissue)
    box = Box(int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1)
    assert len(rows) == box.width * box.height
    return box


# regions


def test_a_rectangle_covers_the_pixels_whose_centres_it_holds(tmp_path: Path):
    path = write(tmp_path, feature(rectangle(10, 20, 30.4, 40.6)))
    mask = read_mask(path, info())
    assert mask.method == "user"
    assert mask.tissue.shape == (300, 400)
    assert true_box(mask) == Box(10, 20, 20, 21)


def test_level_0_pixels_become_pixels_of_the_mask(tmp_path: Path):
    path = write(tmp_path, feature(rectangle(160, 320, 480, 640)))  # 16 level-0 px a mask px
    mask = read_mask(path, info(3200, 1600, mpp=0.5))
    assert mask.px0 == (16.0, 16.0)
    assert true_box(mask) == Box(10, 20, 20, 20)
    assert mask.area_mm2 == pytest.approx(0.160 * 0.160)


@pytest.mark.parametrize("seed", range(4))
def test_any_star_is_what_shapely_says(tmp_path: Path, seed: int):
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 40))
    radii = rng.uniform(40, 800, 40)  # sticks out of the slide on all sides
    star = np.stack([900 + radii * np.cos(angles), 500 + radii * np.sin(angles)], axis=1)
    hole = np.array(rectangle(880.3, 480.7, 921.9, 533.1))
    mask = read_mask(
        write(tmp_path, feature(star.tolist(), hole.tolist())), info(1600, 1000, mpp=3.0)
    )
    height, width = mask.tissue.shape
    x0, y0 = np.meshgrid(
        (np.arange(width) + 0.5) * mask.px0.x, (np.arange(height) + 0.5) * mask.px0.y
    )
    even_odd = shapely.contains_xy(shapely.Polygon(star), x0, y0) ^ shapely.contains_xy(
        shapely.Polygon(hole), x0, y0
    )
    assert np.array_equal(mask.tissue, even_odd)


def test_holes_are_left_out_and_an_island_in_a_hole_is_tissue(tmp_path: Path):
    island = [rectangle(40, 40, 50, 50)]
    multi = {
        "type": "MultiPolygon",
        "coordinates": [[rectangle(10, 10, 80, 80), rectangle(30, 30, 60, 60)], island],
    }
    mask = read_mask(write(tmp_path, multi), info())
    assert mask.tissue.sum() == 70 * 70 - 30 * 30 + 10 * 10
    assert not mask.tissue[35, 35]
    assert mask.tissue[45, 45]


def test_overlapping_regions_are_joined(tmp_path: Path):
    collection = {
        "type": "FeatureCollection",
        "features": [feature(rectangle(0, 0, 20, 20)), feature(rectangle(10, 10, 30, 30))],
    }
    assert read_mask(write(tmp_path, collection), info()).tissue.sum() == 400 + 400 - 100


@pytest.mark.parametrize("wrap", ["bare", "feature", "collection", "list", "geometries", "gzip"])
def test_every_way_to_wrap_a_polygon_is_read(tmp_path: Path, wrap: str):
    one = feature(rectangle(5, 6, 9, 12))
    point = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 1]}}
    content: Any = {
        "bare": one["geometry"],
        "feature": one,
        "collection": {"type": "FeatureCollection", "features": [point, one]},
        "list": [point, one],
        "geometries": {"type": "GeometryCollection", "geometries": [one["geometry"]]},
        "gzip": one,
    }[wrap]
    name = "regions.geojson.gz" if wrap == "gzip" else "regions.geojson"
    mask = read_mask(write(tmp_path, content, name), info())
    assert true_box(mask) == Box(5, 6, 4, 6)


def test_qupath_counts_from_the_corner_of_the_bounds(tmp_path: Path):
    path = write(tmp_path, feature(rectangle(0, 0, 10, 10)))
    slide = info(bounds=Box(100, 50, 200, 200))
    assert true_box(read_mask(path, slide)) == Box(100, 50, 10, 10)
    assert true_box(read_mask(path, slide, frame="level0")) == Box(0, 0, 10, 10)


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        ({"frame": "level0", "origin0": [0, 0]}, Box(0, 0, 10, 10)),
        ({"frame": "level0"}, Box(0, 0, 10, 10)),
        ({"frame": "qupath"}, Box(100, 50, 10, 10)),
        ({"frame": "qupath", "origin0": [7, 9]}, Box(7, 9, 10, 10)),  # of a reader without bounds
        ({"frame": "qupath", "origin0": ["7", 9]}, Box(100, 50, 10, 10)),
        ({}, Box(100, 50, 10, 10)),
        ("of somebody else", Box(100, 50, 10, 10)),
    ],
)
def test_a_file_that_says_where_it_counts_from_is_believed(
    tmp_path: Path, about: object, expected: Box
):
    one = feature(rectangle(0, 0, 10, 10))
    path = write(tmp_path, {"type": "FeatureCollection", "wsi": about, "features": [one]})
    slide = info(bounds=Box(100, 50, 200, 200))
    assert true_box(read_mask(path, slide)) == expected
    assert true_box(read_mask(path, slide, "qupath")) == Box(100, 50, 10, 10)
    assert true_box(read_mask(path, slide, "level0")) == Box(0, 0, 10, 10)


def test_a_frame_that_nobody_knows_is_refused_until_one_is_said(tmp_path: Path):
    path = write(tmp_path, feature(rectangle(0, 0, 10, 10)) | {"wsi": {"frame": "viewport"}})
    with pytest.raises(InvalidMask, match=r"its frame is 'viewport'.*--mask-frame qupath or"):
        read_mask(path, info())
    assert true_box(read_mask(path, info(), "level0")) == Box(0, 0, 10, 10)


def test_what_was_exported_in_either_frame_covers_what_it_covered(tmp_path: Path):
    bounds = Box(800, 800, 1600, 1600)
    source = make_source(bounds=bounds, indices=[(0, 1)], prob=[[0.0, 1.0]])
    for frame in geojson.FRAMES:
        path = geojson.write(source, tmp_path / f"{frame}.geojson.gz", frame=frame)
        mask = read_mask(path, source.slide)
        box, px0 = true_box(mask), mask.px0
        found = (box.x * px0.x, box.y * px0.y, box.right * px0.x, box.bottom * px0.y)
        assert found == (1600, 800, 2400, 1600)


def test_what_lies_off_the_slide_is_cut(tmp_path: Path):
    path = write(tmp_path, feature(rectangle(-50, -50, 7, 3)))
    assert true_box(read_mask(path, info())) == Box(0, 0, 7, 3)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{ not json", "no valid GeoJSON"),
        ("", "no valid GeoJSON"),
        ({"type": "FeatureCollection", "features": []}, "no Polygon"),
        ({"type": "Feature", "geometry": None}, "no Polygon"),
        ({"type": "Point", "coordinates": [1, 2]}, "no Polygon"),
        ("7", "no Polygon"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}, "fewer than 3"),
        ({"type": "Polygon", "coordinates": []}, "fewer than 3"),
        ({"type": "Polygon", "coordinates": None}, "no pairs of numbers"),
        ({"type": "Polygon", "coordinates": [[["a", 0], [1, 1], [2, 0]]]}, "no pairs of numbers"),
        ('{"type": "Polygon", "coordinates": [[[NaN, 0], [1, 1], [2, 0]]]}', "fewer than 3 finite"),
        ({"type": "Polygon", "coordinates": [[[10**400, 0], [1, 1], [2, 0]]]}, "no pairs"),
        ({"type": "Polygon", "coordinates": [[[100], [200], [150]]]}, "fewer than 3 finite points"),
        ({"type": "MultiPolygon", "coordinates": 5}, "no pairs of numbers"),
        (feature(rectangle(5000, 5000, 5100, 5100)), "x 5000-5100.*level0"),
        (feature(rectangle(10.6, 10.6, 11.4, 11.4)), "cover no 8 um pixel"),
    ],
)
def test_regions_that_cannot_be_a_mask_are_refused(tmp_path: Path, content: object, reason: str):
    with pytest.raises(InvalidMask, match=reason):
        read_mask(write(tmp_path, content), info())


@pytest.mark.parametrize("depth", [900, 5000, 200_000])
def test_regions_at_any_depth_are_one_sentence(tmp_path: Path, depth: int):
    """Some Pythons parse deeper than they call."""
    path = write(tmp_path, "[" * depth + "]" * depth)
    with pytest.raises(InvalidMask, match=r"no Polygon or|no valid GeoJSON"):
        read_mask(path, info())


@pytest.mark.parametrize("damage", [slice(-6, None), slice(12, 16)])
def test_a_broken_gzip_is_refused(tmp_path: Path, damage: slice):
    path = tmp_path / "regions.geojson.gz"
    packed = bytearray(gzip.compress(b"{} " * 1000))
    packed[damage] = b"\xff" * len(packed[damage])
    path.write_bytes(packed)
    with pytest.raises(InvalidMask, match="no valid GeoJSON"):
        read_mask(path, info())


def test_another_frame_is_refused(tmp_path: Path):
    path = write(tmp_path, feature(rectangle(0, 0, 9, 9)))
    with pytest.raises(InvalidOption, match="qupath, level0"):
        read_mask(path, info(), frame="level1")  # type: ignore[arg-type]


# pictures


def test_a_picture_of_any_size_covers_all_of_level_0(tmp_path: Path):
    pixels = np.zeros((75, 100), np.uint8)
    pixels[10:20, 30:50] = 1  # any value but 0
    mask = read_mask(write_picture(tmp_path, pixels), info(1600, 1200, mpp=0.5))
    assert mask.px0 == (16.0, 16.0)
    assert mask.mpp == 8.0
    assert true_box(mask) == Box(30, 10, 20, 10)


def test_what_tissue_mask_wrote_is_read_back_as_it_was(tmp_path: Path):
    slide = ArraySlide([np.full((777, 1003, 3), 255, np.uint8)], Mpp(0.499, 0.499))
    overview = read_overview(slide, 8.0)
    tissue = np.random.default_rng(1).random(overview.rgb.shape[:2]) > 0.5
    mask = TissueMask(tissue, overview.mpp, overview.px0, "saturation")
    again = read_mask(write_picture(tmp_path, mask_image(mask), "näme 🔬.png"), slide.info)
    assert (again.mpp, again.px0) == (mask.mpp, mask.px0)
    assert np.array_equal(again.tissue, mask.tissue)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
def test_colour_bit_depth_and_transparency_do_not_matter(tmp_path: Path, mode: str):
    grey = np.zeros((30, 40), np.uint8)
    grey[3:5, 7:17] = 255
    if mode == "I;16":
        picture = Image.fromarray(grey.astype(np.uint16) * 256)
    elif mode == "RGBA":  # white all over, but only the region is opaque
        picture = Image.fromarray(np.dstack([np.full((30, 40, 3), 255, np.uint8), grey]))
    else:
        picture = Image.fromarray(grey).convert(mode)
    picture.save(tmp_path / "mask.png")
    assert true_box(read_mask(tmp_path / "mask.png", info())) == Box(7, 3, 10, 2)


def test_a_picture_of_another_shape_is_refused_with_both_sizes(tmp_path: Path):
    path = write_picture(tmp_path, np.full((100, 100), 255, np.uint8))
    with pytest.raises(InvalidMask, match=r"100 x 100 px.*400 x 300 px.*uncropped"):
        read_mask(path, info())


def test_a_thumbnail_may_be_rounded_by_a_pixel(tmp_path: Path):
    path = write_picture(tmp_path, np.full((23, 30), 255, np.uint8))  # 22.5 rounded up
    assert read_mask(path, info()).tissue.shape == (23, 30)


def test_a_black_picture_is_refused(tmp_path: Path):
    with pytest.raises(InvalidMask, match="all black"):
        read_mask(write_picture(tmp_path, np.zeros((30, 40), np.uint8)), info())


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "mask.png"
    path.write_bytes(content)
    with pytest.raises(InvalidMask, match=r"no picture.*\.geojson"):
        read_mask(path, info())


def test_a_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(InvalidMask, match="cannot be read"):
        read_mask(tmp_path / "none.png", info())


def test_a_slide_without_a_resolution_says_how_to_pass_it(tmp_path: Path):
    with pytest.raises(MissingResolution, match="--mpp"):
        read_mask(write(tmp_path, feature(rectangle(0, 0, 9, 9))), info(mpp=None))
