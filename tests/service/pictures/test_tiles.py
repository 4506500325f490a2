"""Pictures for viewers: slide and heatmap tiles of one address lie on each other."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from openslide import OpenSlide
from openslide.deepzoom import DeepZoomGenerator
from PIL import Image

from models.registry import resolve_model
from service.errors import PictureTooLarge
from service.pictures.tiles import HeatmapTiles, slide_picture, slide_tile
from service.pipeline import make_heatmap
from service.request import HeatmapRequest
from tests.service.painted import paint, write_model, write_slide
from wsi.deepzoom import Address, Pyramid
from wsi.errors import InvalidOption
from wsi.geometry import Box
from wsi.readers import open_slide
from wsi.readers.array import ArraySlide
from wsi.render import Style, encode

GRAY = Style("gray")


def pixels(file: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(file)))


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A slide of 40 x 30 tiles of 32 level-0 px, and its heatmap: red / 255 in each tile."""
    folder = tmp_path_factory.mktemp("painted")
    values = np.random.default_rng(1).integers(0, 256, (30, 40), dtype=np.uint8)
    rgb = paint(values, 32, 1280, 960)
    levels = [rgb, rgb[::2, ::2], rgb[::4, ::4]]
    slide = write_slide(folder / "slide.tiff", levels, 2.0)
    model = write_model(folder / "model")
    request = HeatmapRequest(slide=str(slide), model=model, mask="none", formats=("ome-zarr",))
    card, _ = resolve_model(model)
    from models.infer import load_classifier

    classifier = load_classifier(model, "cpu", batch_size=64)
    result = make_heatmap(request, folder / "result", card, lambda: classifier)
    return slide, result.folder / "heatmap.zarr"


def test_a_heatmap_tile_shows_what_the_slide_tile_shows(painted: tuple[Path, Path]) -> None:
    """The painted red is the probability, and gray shows the probability as red."""
    path, heatmap = painted
    pyramid, tiles = Pyramid(open_slide(path).info.size), HeatmapTiles(1 << 20)
    with open_slide(path) as slide:
        for level, column, row in [(11, 0, 0), (11, 4, 3), (10, 1, 1), (9, 0, 0)]:
            address = pyramid.tile(level, column, row)
            seen = pixels(slide_tile(slide, address))[..., 0].astype(int)
            mapped = pixels(tiles.tile(heatmap, address, GRAY))
            assert mapped.shape[:2] == seen.shape
            assert (mapped[..., 3] == 255).all()
            # JPEG is off by a few levels; a shift by one px by 20 or more
            assert np.abs(mapped[..., 0] - seen).mean() <= 12


def test_slide_tiles_are_those_of_openslide(tmp_path: Path) -> None:
    random = np.random.default_rng(2).integers(0, 256, (120, 150, 3), dtype=np.uint8)
    rgb = np.kron(random, np.ones((8, 8, 1), np.uint8))
    path = write_slide(tmp_path / "slide.tiff", [rgb, rgb[::2, ::2], rgb[::4, ::4]], 0.5)
    theirs = DeepZoomGenerator(OpenSlide(path), tile_size=256, overlap=0)
    pyramid = Pyramid(open_slide(path).info.size)
    with open_slide(path) as slide:
        for level, column, row in [(11, 0, 0), (11, 4, 3), (10, 2, 1), (9, 1, 0)]:
            other = np.asarray(theirs.get_tile(level, (column, row)).convert("RGB"))
            ours = slide_tile(slide, pyramid.tile(level, column, row))
            assert ours == encode(other, "jpeg", quality=85)


def test_a_coarse_tile_of_a_slide_without_levels_is_read_in_blocks(tmp_path: Path) -> None:
    rgb = np.full((3000, 2500, 3), 200, np.uint8)
    rgb[:, 1250:] = 40
    path = write_slide(tmp_path / "slide.tiff", [rgb], 0.5)
    with open_slide(path) as slide:
        tile = pixels(slide_tile(slide, Pyramid(slide.info.size).tile(4, 0, 0)))
    assert tile.shape == (12, 10, 3)
    assert abs(int(tile[0, 1, 0]) - 200) < 6
    assert abs(int(tile[0, 8, 0]) - 40) < 6


def flat(width: int, height: int) -> ArraySlide:
    """A slide of one level that takes no memory."""
    return ArraySlide([np.broadcast_to(np.uint8(200), (height, width, 3))])


def test_a_picture_of_more_than_64_mebipixels_of_a_level_is_refused() -> None:
    """8193 px a side are just more; a tile of a quarter of them is made."""
    slide = flat(8193, 8193)
    with pytest.raises(PictureTooLarge, match=r"67 Mpx of level 0 \(limit 67\)"):
        slide_picture(slide, 100)
    with pytest.raises(PictureTooLarge):
        slide_tile(slide, Pyramid(slide.info.size).tile(8, 0, 0))
    assert pixels(slide_tile(slide, Pyramid(slide.info.size).tile(9, 0, 0))).shape == (256, 256, 3)


def test_only_px_of_the_slide_count_for_a_coarse_tile() -> None:
    """Its one px would be 16384 level-0 px a side."""
    slide = flat(8193, 10)
    assert pixels(slide_tile(slide, Pyramid(slide.info.size).tile(0, 0, 0))).shape == (1, 1, 3)


def test_the_whole_slide_fits_a_side(painted: tuple[Path, Path]) -> None:
    with open_slide(painted[0]) as slide:
        assert pixels(slide_picture(slide, 320)).shape == (240, 320, 3)
        assert pixels(slide_picture(slide, 5000)).shape == (960, 1280, 3)
    picture = HeatmapTiles(1 << 20).picture(painted[1], 320, GRAY)
    assert pixels(picture).shape == (240, 320, 4)


def test_what_was_not_scored_is_transparent(painted: tuple[Path, Path]) -> None:
    outside = Address(Box(1280, 960, 16, 16), 1)
    tile = HeatmapTiles(1 << 20).tile(painted[1], outside, GRAY)
    assert (pixels(tile)[..., 3] == 0).all()


def test_a_tile_is_made_once(painted: tuple[Path, Path]) -> None:
    tiles, address = HeatmapTiles(1 << 20), Address(Box(0, 0, 16, 16), 1)
    assert tiles.cached(painted[1], address, GRAY) is None
    made = tiles.tile(painted[1], address, GRAY)
    assert tiles.cached(painted[1], address, GRAY) is made
    assert tiles.cached(painted[1], address, Style("gray", alpha=0.5)) is None


def test_an_unknown_class_is_refused(painted: tuple[Path, Path]) -> None:
    with pytest.raises(InvalidOption, match="benign"):
        HeatmapTiles(0).tile(painted[1], Address(Box(0, 0, 16, 16), 1), GRAY, "benign")


def test_planes_of_heatmaps_and_pictures_share_one_cache(
    painted: tuple[Path, Path], tmp_path: Path
) -> None:
    """A plane is 30 x 40 cells, 4800 bytes: of five heatmaps two are kept in half of 20,000."""
    tiles, address = HeatmapTiles(20_000), Address(Box(0, 0, 16, 16), 1)
    paths = [tmp_path / f"{i}.zarr" for i in range(5)]
    views = []
    for path in paths:
        shutil.copytree(painted[1], path)
        tiles.tile(path, address, GRAY)
        views.append(tiles.view(path))
    assert [view.kept_bytes for view in views] == [0, 0, 0, 4800, 4800]
    assert 9600 < tiles.size_bytes <= 20_000
    again = tiles.tile(paths[0], address, Style("gray", alpha=0.5))
    assert (pixels(again)[..., 3] == 128).all()
    assert [view.kept_bytes for view in views] == [4800, 0, 0, 0, 4800]
