"""What a heatmap consists of, piece by piece, each with its answer checked.

python -m pytest benchmarks/micro --benchmark-enable --benchmark-only      # seconds of each
python -m pytest benchmarks/micro --benchmark-disable   # as plain tests
"""

import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture

from tests.wsi.export.sources import make_large_source
from wsi.export import export
from wsi.geometry import Box, Mpp, Size
from wsi.grid import TileGrid
from wsi.heatmap import assemble, pyramid
from wsi.readers import open_slide
from wsi.readers.array import ArraySlide
from wsi.resample import average_box
from wsi.slide import Slide
from wsi.tiler import plan_tiles, read_tiles

SIDE = 2048
MPP = Mpp(0.25, 0.25)


@pytest.fixture(scope="module")
def picture() -> NDArray[np.uint8]:
    """uint8 (SIDE, SIDE, 3): smooth, so that JPEG stays near it."""
    wave = np.sin(np.arange(SIDE) / 40)
    red, green = wave[:, None] + wave, wave[:, None] - wave
    return np.stack([128 + 50 * red, 128 + 50 * green, 128 + 50 * red], -1).astype(np.uint8)


@pytest.fixture(scope="module")
def jpeg_slide(
    picture: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Slide]:
    """64 native tiles of 256 px."""
    import tifffile

    path = tmp_path_factory.mktemp("slide") / "slide.tiff"
    tifffile.imwrite(
        path, picture, tile=(256, 256), photometric="rgb", compression="jpeg",
        compressionargs={"level": 90}, resolution=(40_000, 40_000), resolutionunit="CENTIMETER",
    )  # fmt: skip
    with open_slide(path) as slide:
        yield slide


def test_decoding_64_native_tiles(
    benchmark: BenchmarkFixture, jpeg_slide: Slide, picture: NDArray[np.uint8]
) -> None:
    read = benchmark(jpeg_slide.read_level, 0, Box(0, 0, SIDE, SIDE))
    assert np.abs(read.astype(int) - picture).max() < 20


def test_cutting_64_tiles(benchmark: BenchmarkFixture, picture: NDArray[np.uint8]) -> None:
    tiles = benchmark(_read, picture, tile_px=256, mpp=0.25)
    assert tiles.shape == (64, 256, 256, 3)
    assert np.array_equal(np.sort(tiles.sum((1, 2, 3))), _block_sums(picture, 256))


def test_cutting_and_averaging_16_tiles(
    benchmark: BenchmarkFixture, picture: NDArray[np.uint8]
) -> None:
    tiles = benchmark(_read, picture, tile_px=256, mpp=0.5)
    assert tiles.shape == (16, 256, 256, 3)
    means = np.sort(tiles.mean((1, 2, 3)))
    assert np.abs(means - _block_sums(picture, 512) / (512 * 512 * 3)).max() < 0.5


def test_resampling_1400_px_to_500(benchmark: BenchmarkFixture, picture: NDArray[np.uint8]) -> None:
    small = benchmark(average_box, picture, 0.5, 0.5, 1400.5, 1400.5, (500, 500))
    assert small.shape == (500, 500, 3)
    assert abs(float(small.mean()) - float(picture[:1401, :1401].mean())) < 1


def test_assembling_40000_overlapping_tiles(benchmark: BenchmarkFixture) -> None:
    grid = TileGrid.over(Size(80_400, 80_400), MPP, tile_px=50, mpp=4.0, stride_px=25)
    indices = np.argwhere(np.ones(grid.shape, bool))
    prob = np.full((len(indices), 2), 0.5, np.float32)
    heatmap = benchmark(
        assemble, grid, indices, prob, classes=("no", "yes"), positive_class="yes", threshold=0.5
    )
    assert len(indices) == 200 * 200
    assert np.allclose(heatmap.values, 0.5)


def test_pyramid_of_two_classes_of_1500_cells_a_side(benchmark: BenchmarkFixture) -> None:
    levels = benchmark(pyramid, np.full((2, 1500, 1500), 0.25, np.float32))
    assert [level.shape[-1] for level in levels] == [1500, 750, 375, 188]
    assert (levels[-1] == 0.25).all()


def test_geojson_of_5000_tiles(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    source = make_large_source(5_000)
    written = iter(range(1_000_000))
    path = benchmark(lambda: export(source, "geojson", tmp_path / f"{next(written)}.geojson"))
    assert len(_features(path)) == 5_000


def _read(picture: NDArray[np.uint8], *, tile_px: int, mpp: float) -> NDArray[np.uint8]:
    with ArraySlide([picture], mpp=MPP) as slide:
        grid = TileGrid.over(slide.info.size, MPP, tile_px=tile_px, mpp=mpp)
        plan = plan_tiles(slide.info, grid, np.argwhere(np.ones(grid.shape, bool)))
        return np.concatenate([b.rgb.copy() for b in read_tiles(slide, plan, batch_size=16)])


def _block_sums(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint64]:
    count = len(picture) // side
    blocks = picture.reshape(count, side, count, side, 3).sum((1, 3, 4), dtype=np.uint64)
    return np.sort(blocks.ravel())


def _features(path: Path) -> list[Any]:
    raw = path.read_bytes()
    text = gzip.GzipFile(fileobj=io.BytesIO(raw)).read() if raw[:2] == b"\x1f\x8b" else raw
    features: list[Any] = json.loads(text)["features"]
    return features
