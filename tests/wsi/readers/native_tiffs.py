"""TIFFs with tiles of every kind, written by hand where tifffile does not; and comparisons."""

import zlib
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from tests.wsi.readers.test_gate import CODEC, patch_tag
from wsi.geometry import Box

WHOLE = Box(0, 0, 200, 150)


def boxes_over(width: int, height: int) -> Iterator[Box]:
    """All of a small picture; of a large one parts that begin nowhere in particular."""
    step = max(700, max(width, height) // 3)
    for y in range(0, height, step):
        for x in range(0, width, step):
            yield Box(x, y, min(700, width - x), min(700, height - y))


def over_white(rgba: Image.Image) -> NDArray[np.uint8]:
    white = Image.new("RGBA", rgba.size, "white")
    return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))


def worst_difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> int:
    return int(np.abs(one.astype(np.int16) - other).max())


def smooth_pixels(width: int, height: int) -> NDArray[np.uint8]:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 3 % 256, y * 5 % 256, (x + y) % 256], axis=-1).astype(np.uint8)


def tiles_of(pixels: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((0, -height % 64), (0, -width % 64), (0, 0)), mode="edge")
    for y in range(0, height, 64):
        for x in range(0, width, 64):
            yield np.ascontiguousarray(padded[y : y + 64, x : x + 64])


def write_jpeg_tiff(
    path: Path, photometric: str, subsampling: tuple[int, int] = (1, 1), hint: bytes = b""
) -> Path:
    """JPEG tiles whose samples are as `photometric` says, with no hint but the one given."""
    pixels = smooth_pixels(*WHOLE[2:])

    def encode(tile: NDArray[np.uint8]) -> bytes:
        if photometric == "minisblack":
            return without_hints(imagecodecs.jpeg8_encode(tile[..., 0].copy(), level=90), hint)
        stored = "RGB" if photometric == "rgb" else "YCBCR"
        options = {"subsampling": subsampling} if stored == "YCBCR" else {}
        data = imagecodecs.jpeg8_encode(
            tile, level=90, colorspace="RGB", outcolorspace=stored, **options
        )
        return without_hints(data, hint)

    grey = photometric == "minisblack"
    with tifffile.TiffWriter(path) as file:
        file.write(
            (encode(tile) for tile in tiles_of(pixels)),
            shape=pixels.shape[:2] if grey else pixels.shape,
            dtype=np.uint8, tile=(64, 64), compression="jpeg", photometric=photometric,
            metadata=None, **({} if photometric != "ycbcr" else {"subsampling": subsampling}),
        )  # fmt: skip
    return path


def without_hints(jpeg: bytes, hint: bytes) -> bytes:
    """Without the markers of JFIF and Adobe, which encoders write first."""
    rest = jpeg[2:]
    while rest[:2] in (b"\xff\xe0", b"\xff\xee"):
        rest = rest[2 + int.from_bytes(rest[2:4], "big") :]
    return jpeg[:2] + hint + rest


def write_jpeg2000_svs(path: Path, code: int, chroma_step: int = 1) -> Path:
    """An SVS with raw codestreams; of 33003 the components are Y, Cb and Cr."""

    def encode(tile: NDArray[np.uint8]) -> bytes:
        if code == 33003:
            tile = np.asarray(Image.fromarray(tile).convert("YCbCr"))
        data = imagecodecs.jpeg2k_encode(
            tile, level=0, codecformat="j2k", reversible=True, mct=code == 33005
        )
        at = data.index(b"\xff\x4f\xff\x51") + 42  # three bytes a component: depth and two steps
        steps = bytes([7, 1, 1] + [7, chroma_step, 1] * 2)
        return bytes(data[:at] + steps + data[at + 9 :])

    pixels = smooth_pixels(*WHOLE[2:])
    with tifffile.TiffWriter(path) as file:
        file.write(
            (encode(tile) for tile in tiles_of(pixels)),
            shape=pixels.shape, dtype=np.uint8, tile=(64, 64), compression="zlib",
            photometric="rgb", metadata=None, description="Aperio x\r\n|MPP = 0.5",
        )  # fmt: skip
    patch_tag(path, CODEC, code)
    return path


def write_sparse(path: Path, pixels: NDArray[np.uint8], missing: tuple[int, ...]) -> Path:
    with tifffile.TiffWriter(path) as file:
        write_sparse_level(file, pixels, missing)
    return path


def write_sparse_level(
    file: tifffile.TiffWriter,
    pixels: NDArray[np.uint8],
    missing: tuple[int, ...],
    description: str | None = None,
) -> None:
    tiles = (
        b"" if i in missing else zlib.compress(tile.tobytes())
        for i, tile in enumerate(tiles_of(pixels))
    )
    file.write(
        tiles, shape=pixels.shape, dtype=np.uint8, tile=(64, 64), compression="zlib",
        photometric="rgb", metadata=None, description=description,
    )  # fmt: skip
