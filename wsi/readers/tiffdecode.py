"""One compressed tile or strip of a TIFF to samples: what `block_decoder` makes for a picture.

Sizes are checked before a codec may believe the tile's own: a JPEG or JPEG 2000 that claims another
size than the TIFF is damaged, or a bomb. The codecs let other threads run while they decode.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wsi.readers.tiffjpeg import JpegHeads
from wsi.readers.tifftags import Ifd

__all__ = ["APERIO_YCBCR", "JPEG", "BlockDecoder", "block_decoder", "has_full_colours", "why_not"]

Data = bytes | memoryview

NONE, JPEG, APERIO_YCBCR = 1, 7, 33003
BYTE_CODECS = {
    NONE: "",
    5: "lzw",
    8: "zlib",
    32773: "packbits",
    32946: "zlib",
    34925: "lzma",
    50000: "zstd",
}
"""Compression code to imagecodecs' name of what gives back plain bytes."""

PICTURE_CODECS = {
    22610: "jpegxr",
    APERIO_YCBCR: "jpeg2k",
    33004: "jpeg2k",
    33005: "jpeg2k",
    34712: "jpeg2k",
    34934: "jpegxr",
    50001: "webp",
    50002: "jpegxl",
}
"""Of those whose tiles are pictures with a header of their own."""

PREDICTED = (5, 8, 32946, 34925, 50000)  # libtiff ignores the predictor of all others
NO_PREDICTOR, HORIZONTAL = 1, 2
LOWEST_BIT_FIRST = 2
CODESTREAM = b"\xff\x4f\xff\x51"  # JPEG 2000: start, and the segment of sizes
REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


def why_not(ifd: Ifd) -> str | None:
    """What keeps block_decoder() from the picture's tiles; None where nothing does."""
    if ifd.compression not in {JPEG, *BYTE_CODECS, *PICTURE_CODECS}:
        return f"its compression has the code {ifd.compression}"
    if set(ifd.bits) not in ({8}, {16}) or ifd.sample_format not in (1, 4):
        return f"its samples have {ifd.bits[0]} bits"
    if ifd.compression == JPEG and ifd.bits[0] != 8:
        return f"its JPEG tiles have {ifd.bits[0]} bits"
    if ifd.compression in PREDICTED and ifd.predictor not in (NO_PREDICTOR, HORIZONTAL):
        return f"its predictor has the code {ifd.predictor}"
    return None


class BlockDecoder(Protocol):
    """Of one picture's tiles or strips; for several threads."""

    def __call__(
        self, data: Data, rows: int, scratch: NDArray[np.uint8] | None = None
    ) -> NDArray[Any]:
        """uint8 or uint16 (rows, block width, samples); one sample of a planar picture's plane.

        `rows`: the block's, of which the last strip has fewer. `scratch`, uint8 and as large as the
        result, may be overwritten, and be or hold it. Raises ValueError or what the codec raises.
        """
        ...


def block_decoder(ifd: Ifd) -> BlockDecoder:
    """Of a picture of which why_not() says nothing."""
    return _JpegDecoder(ifd) if ifd.compression == JPEG else partial(_decode_block, ifd)


def _decode_block(
    ifd: Ifd, data: Data, rows: int, scratch: NDArray[np.uint8] | None = None
) -> NDArray[Any]:
    """Of any compression but JPEG."""
    shape = (rows, ifd.block.width, _plane_samples(ifd))
    if ifd.fill_order == LOWEST_BIT_FIRST:
        data = bytes(data).translate(REVERSED)
    if ifd.compression in PICTURE_CODECS:
        return _decode_picture(ifd, data, shape)
    return _decode_bytes(ifd, data, shape)


def _plane_samples(ifd: Ifd) -> int:
    return 1 if ifd.planar == 2 else ifd.samples


class _JpegDecoder:
    """By simplejpeg: imagecodecs gives noise, without an error, for tiles that are damaged."""

    def __init__(self, ifd: Ifd) -> None:
        import simplejpeg  # type: ignore[import-untyped]

        self._decode = simplejpeg.decode_jpeg
        self._heads = JpegHeads(ifd.jpeg_tables, ifd.photometric)
        self._width, self._samples = ifd.block.width, _plane_samples(ifd)
        self._colours = {1: "GRAY", 3: "RGB"}.get(self._samples)

    def __call__(
        self, data: Data, rows: int, scratch: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        jpeg, frame = self._heads.whole(data)
        wanted = (self._width, rows), 8, self._samples
        if frame != wanted:
            raise ValueError(f"a JPEG of {_text(*frame)} in a tile of {_text(*wanted)}")
        if self._colours is None:  # with alpha, which simplejpeg does not know
            shape = (rows, self._width, self._samples)
            return np.asarray(_codec("jpeg8")(jpeg, out=np.empty(shape, np.uint8)))
        samples: NDArray[np.uint8] = self._decode(jpeg, self._colours, buffer=scratch)
        return samples


def _text(size: tuple[int, int], bits: int, components: int) -> str:
    return f"{size[0]} x {size[1]} px, {components} x {bits} bits"


def _decode_picture(ifd: Ifd, data: Data, shape: tuple[int, int, int]) -> NDArray[Any]:
    name = PICTURE_CODECS[ifd.compression]
    options: dict[str, Any] = {}
    if name == "jpeg2k":
        _check_codestream(bytes(data), shape)
        options = {"planar": False}
    elif name == "webp":
        options = {"hasalpha": shape[2] == 4}
    out = np.empty(shape if shape[2] > 1 else shape[:2], _dtype(ifd).newbyteorder("="))
    samples = _codec(name)(data, out=out, **options).reshape(shape)
    return _rgb_from_ycbcr(samples) if ifd.compression == APERIO_YCBCR else samples


def has_full_colours(data: bytes, samples: int) -> bool:
    """Whether it is a JPEG 2000 all of whose components have a sample for each pixel.

    ISO 15444-1, A.5.1: after 34 bytes of sizes, three bytes a component; two of them are steps.
    """
    at = data.find(CODESTREAM)
    parts = data[at + 42 : at + 42 + 3 * samples]
    return (
        at >= 0
        and len(parts) == 3 * samples
        and all(parts[3 * i + 1] == parts[3 * i + 2] == 1 for i in range(samples))
    )


def _check_codestream(data: bytes, shape: tuple[int, int, int]) -> None:
    """Before decoding, as the decoder makes room for what it reads there."""
    if not has_full_colours(data, shape[2]):
        raise ValueError("no JPEG 2000, or one with fewer pixels of colour than of brightness")
    at = data.find(CODESTREAM) + 8  # of the grid's width and height, and where it begins
    right, bottom, left, top = (
        int.from_bytes(data[i : i + 4], "big") for i in range(at, at + 16, 4)
    )
    components = int.from_bytes(data[at + 32 : at + 34], "big")
    if (bottom - top, right - left, components) != shape:
        raise ValueError(
            f"a JPEG 2000 of {right - left} x {bottom - top} px, {components} components, in a "
            f"tile of {shape[1]} x {shape[0]} px, {shape[2]} samples"
        )


def _decode_bytes(ifd: Ifd, data: Data, shape: tuple[int, int, int]) -> NDArray[Any]:
    dtype = _dtype(ifd)
    needed = shape[0] * shape[1] * shape[2] * dtype.itemsize
    # a writer may fill up the last strip
    most = max(needed, ifd.block.height * shape[1] * shape[2] * dtype.itemsize)
    name = BYTE_CODECS[ifd.compression]
    plain = _codec(name)(data, out=most) if name else data
    if len(plain) < needed:
        raise ValueError(f"a tile of {len(plain)} bytes where {needed} were expected")
    samples = np.frombuffer(plain, dtype, needed // dtype.itemsize).reshape(shape)
    if ifd.compression in PREDICTED and ifd.predictor == HORIZONTAL:
        return np.asarray(_codec("delta")(samples, axis=1))
    return samples


def _dtype(ifd: Ifd) -> np.dtype[Any]:
    return np.dtype(f"{ifd.order}u{max(ifd.bits) // 8}")


def _codec(name: str) -> Callable[..., Any]:
    import imagecodecs

    found: Callable[..., Any] = getattr(imagecodecs, f"{name}_decode")
    return found


def _rgb_from_ycbcr(samples: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """By tables of JFIF's factors, as libjpeg does; some differ by 1 from OpenSlide's."""
    red_cr, green_cb, green_cr, blue_cb = _ycbcr_tables()
    y, cb, cr = (samples[..., i] for i in range(3))
    luma = y.astype(np.int32)
    green = (green_cb[cb] + green_cr[cr]) >> 16
    rgb = np.stack([luma + red_cr[cr], luma + green, luma + blue_cb[cb]], axis=-1)
    return np.asarray(np.clip(rgb, 0, 255), np.uint8)


@lru_cache(maxsize=1)
def _ycbcr_tables() -> tuple[NDArray[np.int32], ...]:
    chroma = np.arange(256, dtype=np.int64) - 128

    def scaled(factor: float) -> NDArray[np.int64]:
        return int(factor * (1 << 16) + 0.5) * chroma

    half = 1 << 15
    tables = (
        (scaled(1.402) + half) >> 16,
        -scaled(0.34414),
        -scaled(0.71414) + half,
        (scaled(1.772) + half) >> 16,
    )
    return tuple(table.astype(np.int32) for table in tables)
