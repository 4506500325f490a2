import hashlib
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.datasets import PUBLISHED_FOLDER, load_tiles, require_trainable
from models.errors import DatasetError
from tests.models.labelled import make_tiles, write_packed, write_published


def test_published_tiles_come_back_with_label_patient_and_1_based_position(tmp_path: Path):
    folder = tmp_path / "10253" / "1"
    folder.mkdir(parents=True)
    Image.new("RGB", (50, 50), (1, 2, 3)).save(folder / "10253_idx5_x1351_y1101_class1.png")
    tiles = load_tiles(tmp_path)
    assert tiles.rgb.shape == (1, 50, 50, 3)
    assert (tiles.rgb == (1, 2, 3)).all()
    assert tiles.label.tolist() == [1]
    assert tiles.patient.tolist() == ["10253"]
    assert tiles.xy.tolist() == [[1351, 1101]]
    assert not tiles.complete.any()


def test_the_folder_that_the_download_adds_makes_no_difference(tmp_path: Path):
    tiles = make_tiles()
    write_published(tiles, tmp_path / "outer" / PUBLISHED_FOLDER)
    write_published(tiles, tmp_path / "flat")
    nested, flat = load_tiles(tmp_path / "outer"), load_tiles(tmp_path / "flat")
    assert len(nested) == len(tiles)
    np.testing.assert_array_equal(nested.rgb, flat.rgb)


def test_both_layouts_hold_the_same_tiles(tmp_path: Path):
    tiles = make_tiles(complete=("2",))
    published = load_tiles(write_published(tiles, tmp_path / "published"))
    packed = load_tiles(write_packed(tiles, tmp_path / "packed"))
    places = [
        sorted(zip(one.patient.tolist(), one.label.tolist(), one.xy.tolist(), strict=True))
        for one in (published, packed)
    ]
    assert places[0] == places[1]
    digests = [sorted(rgb.tobytes() for rgb in one.rgb) for one in (published, packed)]
    assert digests[0] == digests[1]
    assert set(packed.patient[packed.complete]) == {"2"}


@pytest.mark.parametrize("write", [write_published, None])
def test_an_edge_tile_is_padded_with_white_right_and_below(tmp_path: Path, write: object):
    if write is None:
        write_packed(make_tiles(("1",)), tmp_path, sizes={0: (41, 13)})
    else:
        folder = tmp_path / "1" / "0"
        folder.mkdir(parents=True)
        Image.new("RGB", (41, 13), (9, 9, 9)).save(folder / "1_idx5_x1_y1_class0.png")
    first = load_tiles(tmp_path).rgb[0]
    assert (first[13:] == 255).all()
    assert (first[:, 41:] == 255).all()
    assert (first[:13, :41] < 255).any(axis=2).all()


def test_damaged_files_are_named_together(tmp_path: Path):
    write_published(make_tiles(), tmp_path)
    damaged = sorted(tmp_path.glob("1/1/*.png"))[:2]
    damaged[0].write_bytes(damaged[0].read_bytes()[:100])
    damaged[1].write_bytes(b"no picture")
    with pytest.raises(DatasetError, match="2 of 32 tiles") as error:
        load_tiles(tmp_path)
    assert all(path.name in str(error.value) for path in damaged)


def test_a_changed_sheet_is_refused(tmp_path: Path):
    write_packed(make_tiles(), tmp_path)
    sheet = tmp_path / "3.webp"
    rgb = np.array(Image.open(sheet))
    rgb[0, 0] ^= 1
    Image.fromarray(rgb).save(sheet, lossless=True)
    with pytest.raises(DatasetError, match=r"3\.webp, cell 0"):
        load_tiles(tmp_path)


def test_a_folder_without_tiles_says_which_layout_is_expected(tmp_path: Path):
    (tmp_path / "1" / "0").mkdir(parents=True)
    (tmp_path / "1" / "0" / "holiday.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"holds no tile; expected <patient>"):
        load_tiles(tmp_path)


@pytest.mark.parametrize(
    "table",
    [
        b"minx,miny,width,height,prob_idc\n0,0,50,50,0.5\n",  # of a heatmap's result
        b"patient,label,x,y,index,width,height,complete,rgb_sha1\n1,0,one,1,0,50,50,1,abc\n",
        b"patient,label,x,y,index,width,height,complete,rgb_sha1\n1,0\n",
        b"\xff\xfe\x00",
    ],
)
def test_another_programs_tiles_csv_is_refused(tmp_path: Path, table: bytes):
    (tmp_path / "tiles.csv").write_bytes(table)
    with pytest.raises(DatasetError, match=r"tiles\.csv is not the table of packed tiles"):
        load_tiles(tmp_path)


@pytest.mark.parametrize("label", [7, -1, 2])
def test_a_label_that_is_none_names_the_tile(tmp_path: Path, label: int):
    write_packed(make_tiles(("1", "2")), tmp_path)
    table = tmp_path / "tiles.csv"
    lines = table.read_text().splitlines()
    cells = lines[10].split(",")
    lines[10] = ",".join([*cells[:3], str(label), *cells[4:]])
    table.write_text("\n".join(lines))
    with pytest.raises(
        DatasetError,
        match=rf"tiles\.csv, line 11: the label of a tile of patient 2 is {label}; use 0 \(non",
    ):
        load_tiles(tmp_path)


def test_a_picture_that_claims_impossible_sizes_is_damaged(tmp_path: Path):
    write_published(make_tiles(), tmp_path)
    bomb = next(tmp_path.glob("1/1/*.png"))
    data = bytearray(bomb.read_bytes())
    data[16:24] = (60_000).to_bytes(4) * 2  # width and height
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4)
    bomb.write_bytes(data)
    with pytest.raises(DatasetError, match="1 of 32 tiles"):
        load_tiles(tmp_path)


def test_a_path_that_is_no_folder_is_named(tmp_path: Path):
    with pytest.raises(DatasetError, match="absent is not a folder"):
        load_tiles(tmp_path / "absent")


def test_one_patient_cannot_be_trained_on():
    with pytest.raises(DatasetError, match="at least two patients"):
        require_trainable(make_tiles(("7",)))


def test_one_class_cannot_be_trained_on():
    tiles = make_tiles()
    with pytest.raises(DatasetError, match="of class 1"):
        require_trainable(tiles.select(tiles.label == 0))


def test_the_packed_data_is_read_whole_and_unchanged(real_data: Path):
    tiles = load_tiles(real_data / "idc")
    assert len(tiles) == 24_500
    assert int(tiles.label.sum()) == 6_417
    assert len(tiles.patients) == 218
    assert len(set(tiles.patient[tiles.complete])) == 21
    first = tiles.select((tiles.patient == "10255") & (tiles.xy == (901, 701)).all(axis=1))
    assert hashlib.sha1(first.rgb[0].tobytes()).hexdigest()[:12] == "f1761cc7cd1f"
