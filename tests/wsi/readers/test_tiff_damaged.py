"""Damaged tiles and headers by the native TIFF reader: a clear error, and no other end."""

import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile

from tests.wsi.readers.native_tiffs import (
    WHOLE,
    smooth_pixels,
    write_jpeg2000_svs,
)
from tests.wsi.readers.tiffs import write_tiff
from wsi.errors import CorruptSlide
from wsi.geometry import Box
from wsi.readers import open_slide

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.mark.real_data
def test_a_real_tile_with_a_bogus_marker_is_corrupt(real_data: Path):
    path = real_data / "malformed" / "unreadable.svs"
    with open_slide(path, reader="tiff") as slide, pytest.raises(CorruptSlide, match="unreadable"):
        slide.read_level(0, Box(0, 0, 4, 4))


@pytest.mark.parametrize("compression", ["jpeg", "zlib", "lzw", "zstd", "lzma", "packbits", None])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.97])
def test_a_tile_cut_short_is_corrupt_and_its_neighbours_are_not(
    tmp_path: Path, compression: str | None, kept: float
):
    path = write_tiff(tmp_path / "a.tif", smooth_pixels(200, 150), compression=compression)
    with tifffile.TiffFile(path) as file:
        lengths = file.pages[0].tags["TileByteCounts"]
        kind = {3: "<H", 4: "<I"}[lengths.dtype]
        count, at = lengths.value[5], lengths.valueoffset + struct.calcsize(kind) * 5
    data = bytearray(path.read_bytes())
    assert struct.unpack_from(kind, data, at) == (count,)
    struct.pack_into(kind, data, at, max(1, int(count * kept)))
    path.write_bytes(data)
    with open_slide(path, reader="tiff") as slide:
        assert slide.read_level(0, Box(0, 0, 64, 64)).shape == (64, 64, 3)
        with pytest.raises(CorruptSlide, match=r"a\.tif.*level 0, x 70, y 70"):
            slide.read_level(0, Box(70, 70, 10, 10))
        assert slide.read_level(0, Box(0, 0, 64, 64)).shape == (64, 64, 3)


@pytest.mark.parametrize(
    "encode",
    [
        lambda tile: imagecodecs.jpeg8_encode(tile[:32]),
        lambda tile: imagecodecs.jpeg8_encode(np.tile(tile, (4, 4, 1))),
        lambda tile: imagecodecs.jpeg8_encode(tile[..., 0].copy()),
        lambda tile: imagecodecs.jpeg8_encode(
            np.dstack([tile, tile[..., :1]]).copy(), colorspace="CMYK", outcolorspace="CMYK"
        ),
        lambda tile: imagecodecs.jpeg8_encode(tile.astype(np.uint16) * 16, bitspersample=12),
        lambda tile: imagecodecs.jpeg8_encode(tile).replace(b"\xff\xd9", b""),
        lambda _: b"no JPEG at all",
    ],
    ids=["lower", "larger", "grey", "cmyk", "12-bit", "no end", "text"],
)
def test_a_jpeg_of_another_kind_than_its_tile_is_corrupt(tmp_path: Path, encode: Any):
    path = tmp_path / "a.tif"
    data = encode(smooth_pixels(64, 64))
    with tifffile.TiffWriter(path) as file:
        file.write(
            iter([data]), shape=(64, 64, 3), dtype=np.uint8, tile=(64, 64), compression="jpeg",
            photometric="ycbcr", metadata=None,
        )  # fmt: skip
    with open_slide(path, reader="tiff") as slide, pytest.raises(CorruptSlide, match="level 0"):
        slide.read_level(0, Box(0, 0, 64, 64))


def test_a_jpeg_2000_that_claims_to_be_huge_is_corrupt_before_it_is_decoded(tmp_path: Path):
    path = write_jpeg2000_svs(tmp_path / "a.svs", 33005)
    data = path.read_bytes().replace(
        struct.pack(">II", 64, 64), struct.pack(">II", 1 << 20, 1 << 20)
    )
    path.write_bytes(data)
    with (
        open_slide(path, reader="tiff") as slide,
        pytest.raises(CorruptSlide, match="1048576 x 1048576 px"),
    ):
        slide.read_level(0, WHOLE)


READ_ALL = """
import os, resource, signal, sys
import imagecodecs, simplejpeg, wsi.readers.openslide, wsi.readers.tiff
from wsi.errors import WsiError
from wsi.geometry import Box
from wsi.readers import open_slide

def read_all(path):
    with open_slide(path, reader="tiff") as slide:
        for n, level in enumerate(slide.info.levels):
            slide.read_level(n, Box(0, 0, *(min(side, 2000) for side in level.size)))

for codec in ("delta", "jpeg2k", "lzw"):
    getattr(imagecodecs, codec + "_decode")
for path in sys.argv[1:]:
    pid = os.fork()
    if pid:
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        continue
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    signal.alarm(60)
    try:
        read_all(path)
    except WsiError as error:
        os._exit(0 if path in str(error) else 3)
    except BaseException:
        os._exit(4)
    os._exit(0)
"""
"""One process a file, and for each of them a line with its exit code; a signal is negative."""


@pytest.mark.parametrize("compression", ["jpeg", "lzw", "jpeg2000"])
def test_a_damaged_file_ends_in_pixels_or_a_clear_error(tmp_path: Path, compression: str):
    random = np.random.default_rng(0)
    original = tmp_path / "original.svs"
    if compression == "jpeg2000":
        write_jpeg2000_svs(original, 33005)
    else:
        write_tiff(original, smooth_pixels(200, 150), compression=compression)
    data = np.frombuffer(original.read_bytes(), np.uint8)
    paths = [tmp_path / f"{i}.svs" for i in range(24)]
    for i, path in enumerate(paths):
        damaged = data.copy()
        reach = 400 if i % 2 else len(data)  # the header, or anywhere
        damaged[random.integers(0, reach, 6)] = random.integers(0, 256, 6)
        path.write_bytes(damaged.tobytes())
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL, *map(str, paths)],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
    )
    assert done.stdout.split() == ["0"] * len(paths), done.stderr
