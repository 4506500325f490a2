"""Stores of tiles: pixels over several shards, and damage that is noticed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray
from zarr.storage import LocalStore

from wsi.errors import StoreIncomplete
from wsi.store import TileStore, shard_tiles


def make_positions(count: int) -> NDArray[np.int64]:
    return np.stack([np.arange(count) * 256, np.full(count, 7)], 1)


def make_tiles(count: int, tile_px: int = 256) -> NDArray[np.uint8]:
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (count, tile_px, tile_px, 3), dtype=np.uint8)


def write_tiles(path: Path, tiles: NDArray[np.uint8]) -> None:
    with TileStore.create(path, make_positions(len(tiles)), tiles.shape[1], {}) as writer:
        writer.write(0, tiles)
        writer.finish()


def test_tiles_come_back_as_they_were_written_over_several_shards(tmp_path: Path):
    path = tmp_path / "a slide with spaces 🔬.zarr"
    tiles = make_tiles(150)
    write_tiles(path, tiles)
    store = TileStore.open(path)
    store.verify()
    assert (len(store), store.tile_px) == (150, 256)
    assert np.array_equal(store.read(120, 150), tiles[120:])
    group: Any = zarr.open_group(LocalStore(path), mode="r")
    assert group["rgb"].shards == (128, 256, 256, 3)
    assert np.array_equal(group["rgb"][...], tiles)


def test_a_damaged_tile_is_noticed_when_it_is_read_and_by_the_checksums(tmp_path: Path):
    path = tmp_path / "tiles.zarr"
    write_tiles(path, make_tiles(20, tile_px=64))
    (shard,) = (path / "rgb" / "c").rglob("0/0/0/0")
    content = bytearray(shard.read_bytes())
    content[1000] ^= 255
    shard.write_bytes(bytes(content))
    store = TileStore.open(path)
    with pytest.raises(StoreIncomplete, match="tiles 0 to 19 cannot be read"):
        store.read(0, 20)
    with pytest.raises(StoreIncomplete, match="shard 0 is damaged"):
        store.verify()


def test_a_missing_shard_of_tiles_is_not_read_as_black(tmp_path: Path):
    path = tmp_path / "tiles.zarr"
    write_tiles(path, make_tiles(20, tile_px=64))
    (shard,) = (path / "rgb" / "c").rglob("0/0/0/0")
    shard.unlink()
    with pytest.raises(StoreIncomplete, match="tiles 3 to 4 cannot be read"):
        TileStore.open(path).read(3, 5)


def test_a_damaged_last_shard_of_tiles_is_replaced_without_being_read(tmp_path: Path):
    tiles, path = make_tiles(150), tmp_path / "tiles.zarr"
    with TileStore.create(path, make_positions(150), 256, {}) as writer:
        writer.write(0, tiles)
    (path.with_name("tiles.zarr.partial") / "rgb" / "c" / "1" / "0" / "0" / "0").write_bytes(
        b"rubbish"
    )
    with TileStore.create(path, make_positions(150), 256, {}) as writer:
        assert writer.missing == [range(128, 150)]
        writer.write(128, tiles[128:])
        writer.finish()
    assert np.array_equal(TileStore.open(path).read(128, 150), tiles[128:])


def test_a_shard_of_tiles_is_at_most_32_mib_of_pixels():
    assert shard_tiles(256) == 128  # 24 MiB
    assert shard_tiles(50) == 4096  # 29 MiB
    assert shard_tiles(4096) == 1
