"""Pictures decoded once into a store: the right pixels, once, whole or not at all."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
from PIL import Image

from models.datasets import LabelledStore, decoded, load_tiles, open_data, shared_store
from models.datasets.cutting import Cut
from models.datasets.digests import with_digests
from models.errors import DatasetError
from tests.models.labelled import make_tiles, write_packed, write_published
from tests.models.pictures import (
    breakhis_names,
    make_picture,
    write_bach,
    write_flat,
    write_picture,
)
from wsi.errors import SlideTooCoarse, StoreIncomplete, WsiError
from wsi.geometry import Mpp
from wsi.grid import TileGrid
from wsi.readers import open_slide
from wsi.store.folder import partial_path
from wsi.tiler import plan_tiles, read_tiles


def small_shards(monkeypatch: pytest.MonkeyPatch, rows: int = 4) -> None:
    monkeypatch.setattr("models.datasets.stores.shard_tiles", lambda px: rows)


@pytest.mark.parametrize("write", [write_published, write_packed])
def test_tiles_in_the_store_are_those_that_are_loaded(
    tmp_path: Path, write: object, monkeypatch: pytest.MonkeyPatch
):
    small_shards(monkeypatch)
    folder = write(make_tiles(complete=("2",)), tmp_path / "data")  # type: ignore[operator]
    expected = load_tiles(folder)
    store = decoded(open_data(folder), tmp_path / "s.zarr", px=50)
    order = np.random.default_rng(0).permutation(len(store))
    np.testing.assert_array_equal(store.batch(order), expected.rgb[order])
    np.testing.assert_array_equal(store.in_memory().batch(order), expected.rgb[order])
    assert store.label.tolist() == expected.label.tolist()
    assert store.patient.tolist() == expected.patient.tolist()
    assert store.xy.tolist() == expected.xy.tolist()
    assert store.complete.tolist() == expected.complete.tolist()


def test_a_batch_may_ask_for_a_row_twice(tmp_path: Path):
    store = decoded(open_data(write_published(make_tiles(), tmp_path / "d")), tmp_path / "s", px=50)
    batch = store.batch(np.array([3, 0, 3]))
    np.testing.assert_array_equal(batch[0], batch[2])
    assert (batch[0] != batch[1]).any()


def test_some_patients_of_a_store_keep_their_own_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    small_shards(monkeypatch, 8)
    folder = write_published(make_tiles(), tmp_path / "d")
    some = decoded(open_data(folder), tmp_path / "s", px=50).of_patients(["2", "4"])
    expected = load_tiles(folder).of_patients(["2", "4"])
    assert some.patients == ["2", "4"]
    for held in (some, some.in_memory()):
        np.testing.assert_array_equal(held.batch(np.arange(16)), expected.rgb)
        odd = held.select(held.label == 1)
        np.testing.assert_array_equal(odd.batch(np.arange(8)), expected.rgb[expected.label == 1])


def test_a_resized_pixel_is_the_mean_of_its_part_of_the_picture(tmp_path: Path):
    rgb = make_picture(5, width=70, height=46)
    write_picture(tmp_path / "d" / "SOB_B_A-14-1-40-001.png", rgb)
    store = decoded(open_data(tmp_path / "d"), tmp_path / "s", how="resize", px=2)
    quarter = [rgb[y : y + 23, x : x + 35].reshape(-1, 3).mean(0) for y in (0, 23) for x in (0, 35)]
    np.testing.assert_allclose(store.batch(np.array([0])).reshape(4, 3), quarter, atol=0.5)


def test_tiles_are_those_that_a_slide_of_the_picture_gives(tmp_path: Path):
    photos = write_bach(tmp_path / "d", per_class=1, width=100, height=70)
    store = decoded(open_data(tmp_path / "d"), tmp_path / "s", how="tiles", px=16, mpp=0.84)
    assert store.picture.tolist() == [0] * 12 + [1] * 12 + [2] * 12 + [3] * 12  # 4 x 3 of 32 px
    with open_slide(photos / "Benign" / "b001.tif", mpp=0.42) as slide:
        grid = TileGrid.over(slide.info.size, Mpp(0.42, 0.42), tile_px=16, mpp=0.84)
        plan = plan_tiles(slide.info, grid, np.argwhere(np.ones(grid.shape, bool)))
        (expected,) = read_tiles(slide, plan, batch_size=12)
    mine = store.select(store.picture == 1)
    np.testing.assert_array_equal(mine.batch(np.arange(12)), expected.rgb)
    assert mine.xy.tolist() == plan.xy0.tolist()
    assert set(mine.label.tolist()) == {1}


def test_a_tile_of_four_pixels_is_their_mean(tmp_path: Path):
    rgb = make_picture(3, width=32, height=32)
    write_picture(tmp_path / "d" / "SOB_B_A-14-1-100-001.png", rgb)
    store = decoded(open_data(tmp_path / "d"), tmp_path / "s", how="tiles", px=16, mpp=0.4)
    expected = rgb.reshape(16, 2, 16, 2, 3).mean((1, 3))
    np.testing.assert_allclose(store.batch(np.array([0]))[0], expected, atol=0.5)


def test_a_picture_coarser_than_the_tiles_is_refused(tmp_path: Path):
    write_flat(tmp_path / "d", breakhis_names({"14-1": "B_A"}))
    with pytest.raises(SlideTooCoarse, match=r"0\.49 um/px, the tiles need 0\.1"):
        decoded(open_data(tmp_path / "d"), tmp_path / "s", how="tiles", px=16, mpp=0.1)


def test_a_picture_larger_than_a_tile_is_refused_as_it_is(tmp_path: Path):
    write_flat(tmp_path / "d", breakhis_names({"14-1": "B_A"}))
    with pytest.raises(DatasetError, match="is 40 x 30 px, the tiles are 32"):
        decoded(open_data(tmp_path / "d"), tmp_path / "s", px=32)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("how", "px", "mpp", "said"),
    [
        ("crop", 50, None, "no way 'crop'.*tile, resize, tiles"),
        ("resize", 50, 0.5, "does not look at resolutions"),
        ("tile", 0, None, "tiles of 0 px"),
    ],
)
def test_a_cut_that_cannot_be_says_why(how: str, px: int, mpp: float | None, said: str):
    with pytest.raises(DatasetError, match=said):
        Cut(how, px, mpp)


def test_a_store_is_used_again_without_reading_a_picture(tmp_path: Path):
    folder = write_published(make_tiles(), tmp_path / "d")
    first = decoded(open_data(folder), tmp_path / "s", px=50)
    written = (tmp_path / "s" / "zarr.json").stat().st_mtime_ns
    for path in folder.rglob("*.png"):  # same size, same time, other bytes: nobody looks
        stamp = path.stat()
        path.write_bytes(bytes(stamp.st_size))
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    again = decoded(open_data(folder), tmp_path / "s", px=50)
    np.testing.assert_array_equal(again.batch(np.arange(32)), first.batch(np.arange(32)))
    assert (tmp_path / "s" / "zarr.json").stat().st_mtime_ns == written


def test_a_store_of_other_pictures_is_refused_and_made_anew_where_asked(tmp_path: Path):
    folder = write_published(make_tiles(), tmp_path / "d")
    decoded(open_data(folder), tmp_path / "s", px=50)
    next(folder.rglob("*.png")).unlink()
    with pytest.raises(DatasetError, match=r"something else \(pictures, files_sha256 differ\)"):
        decoded(open_data(folder), tmp_path / "s", px=50)
    assert len(decoded(open_data(folder), tmp_path / "s", px=50, overwrite=True)) == 31


def test_two_who_want_the_same_store_take_turns(tmp_path: Path):
    pictures = open_data(write_published(make_tiles(), tmp_path / "d"))
    both = Barrier(2)

    def want(_: int) -> LabelledStore:
        both.wait()
        return shared_store(pictures, tmp_path / "stores", px=50)

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(want, range(2))
    assert len(list((tmp_path / "stores").iterdir())) == 1
    np.testing.assert_array_equal(one.batch(np.arange(32)), other.batch(np.arange(32)))


def test_a_changed_folder_gets_a_new_store_and_of_older_ones_the_last_is_kept(tmp_path: Path):
    """Of another folder nothing is taken away; of this one also what was left unfinished."""
    folder, stores = write_published(make_tiles(), tmp_path / "d"), tmp_path / "stores"
    shared_store(open_data(write_published(make_tiles(), tmp_path / "o")), stores, px=50)
    made = []
    for _ in range(4):
        before = set(stores.iterdir()) if stores.exists() else set()
        last = shared_store(open_data(folder), stores, px=50)
        (name,) = {path.name for path in stores.iterdir()} - {path.name for path in before}
        made.append((name, last))
        (stores / f"{name[:-13]}00000000.zarr.partial").mkdir(exist_ok=True)
        next(folder.rglob("*.png")).unlink()

    assert [len(store) for _, store in made] == [32, 31, 30, 29]
    left = {path.name for path in stores.glob("d-*.zarr*")}
    assert left == {made[2][0], made[3][0], f"{made[3][0][:-13]}00000000.zarr.partial"}
    assert len(list(stores.glob("o-*.zarr"))) == 1
    assert made[2][1].batch(np.arange(30)).shape == (30, 50, 50, 3)


def test_classes_that_are_called_otherwise_share_a_store(tmp_path: Path):
    write_flat(tmp_path / "d", breakhis_names({"14-1": "B_F", "14-2": "M_PC"}))
    two = decoded(open_data(tmp_path / "d"), tmp_path / "s", how="resize", px=8)
    eight = decoded(open_data(tmp_path / "d", subtypes=True), tmp_path / "s", how="resize", px=8)
    assert two.label.tolist() == [0, 0, 1, 1]
    assert eight.label.tolist() == [1, 1, 7, 7]


def test_every_damaged_picture_is_named_and_no_store_is_left(tmp_path: Path):
    folder = write_published(make_tiles(), tmp_path / "d")
    one, other, *_ = sorted(folder.rglob("*.png"))
    one.write_bytes(one.read_bytes()[:300])
    other.write_bytes(b"no picture")
    with pytest.raises(DatasetError, match="2 of 32 tiles") as error:
        decoded(open_data(folder), tmp_path / "s", px=50)
    assert one.name in str(error.value)
    assert other.name in str(error.value)
    assert not (tmp_path / "s").exists()


def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    small_shards(monkeypatch)
    folder = write_published(make_tiles(), tmp_path / "d")
    pictures = open_data(folder)

    def stop_at_half(done: int, total: int) -> None:
        if done == total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decoded(pictures, tmp_path / "s", px=50, progress=stop_at_half)
    assert partial_path(tmp_path / "s").is_dir()
    told: list[int] = []
    store = decoded(pictures, tmp_path / "s", px=50, progress=lambda done, _: told.append(done))
    assert told[0] == 17
    assert told[-1] == 32
    np.testing.assert_array_equal(store.batch(np.arange(32)), load_tiles(folder).rgb)
    digests = [item.sha256 for item in with_digests(pictures).items]
    assert [item.sha256 for item in store.pictures.items] == digests


def test_a_stopped_run_goes_on_in_the_middle_of_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    small_shards(monkeypatch)
    write_bach(tmp_path / "d", per_class=1, width=48, height=16)  # 3 tiles each, 4 a shard
    pictures = open_data(tmp_path / "d")

    def stop_after_the_second(done: int, _: int) -> None:
        if done == 6:
            raise KeyboardInterrupt

    whole = decoded(pictures, tmp_path / "whole", how="tiles", px=16)
    with pytest.raises(KeyboardInterrupt):
        decoded(pictures, tmp_path / "s", how="tiles", px=16, progress=stop_after_the_second)
    store = decoded(pictures, tmp_path / "s", how="tiles", px=16)
    np.testing.assert_array_equal(store.batch(np.arange(12)), whole.batch(np.arange(12)))


def test_a_lost_shard_is_no_black_picture(tmp_path: Path):
    folder = write_published(make_tiles(), tmp_path / "d")
    decoded(open_data(folder), tmp_path / "s", px=50)
    next(p for p in (tmp_path / "s" / "rgb").rglob("0") if p.is_file()).unlink()
    with pytest.raises(StoreIncomplete, match="cannot be read"):
        decoded(open_data(folder), tmp_path / "s", px=50)


def test_a_damaged_shard_is_no_other_picture(tmp_path: Path):
    folder = write_published(make_tiles(), tmp_path / "d")
    store = decoded(open_data(folder), tmp_path / "s", px=50)
    shard = next(path for path in (tmp_path / "s" / "rgb" / "c").rglob("0") if path.is_file())
    data = bytearray(shard.read_bytes())
    data[len(data) // 3] ^= 255
    shard.write_bytes(data)
    with pytest.raises(WsiError, match="cannot be read; make the store again"):
        store.in_memory()


def test_16_bit_pictures_are_not_squeezed_into_8(tmp_path: Path):
    path = tmp_path / "SOB_B_A-14-1-40-001.png"
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(path)
    with pytest.raises(DatasetError, match="samples of mode I;16, not 8 bit"):
        with_digests(open_data(tmp_path))


def test_real_pictures_come_at_the_resolution_that_is_asked_for(real_data: Path, tmp_path: Path):
    pictures = open_data(real_data / "breakhis", magnification=40)
    store = decoded(pictures, tmp_path / "s", how="tiles", px=224, mpp=0.49)
    assert len(store) == 10 * 4 * 3  # 700 x 460 px: 4 columns, 3 rows
    rgb = np.asarray(Image.open(pictures.items[0].path).convert("RGB"))
    np.testing.assert_array_equal(store.batch(np.array([0]))[0], rgb[:224, :224])
