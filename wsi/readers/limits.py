"""How large a slide may claim to be, before anything is decoded: the door of the header gate."""

from wsi.errors import CorruptSlide, SlideTooLarge
from wsi.geometry import Size

__all__ = [
    "MAX_BLOCK_BYTES",
    "MAX_LEVELS",
    "check_block",
    "check_level_count",
    "check_slide_size",
    "check_untiled_size",
]

MAX_SLIDE_PX = 4 * 10**10  # 200,000 x 200,000: five cm by five at 0.25 um/px
MAX_UNTILED_PX = 400 * 10**6  # decoded as one: 1.2 GB of RGB
MAX_BLOCK_BYTES = 64 << 20
MAX_LEVELS = 32


def check_slide_size(size: Size, name: str) -> None:
    """CorruptSlide where there is no pixel, SlideTooLarge where there are too many."""
    if size.width <= 0 or size.height <= 0:
        raise CorruptSlide(
            f"{name}: damaged header: the picture is {size.width} x {size.height} px; "
            "copy it again from its source"
        )
    if size.width * size.height > MAX_SLIDE_PX:
        raise SlideTooLarge(
            f"{name}: the header claims {size.width} x {size.height} px, more than any slide has "
            f"(limit {MAX_SLIDE_PX:.0e}); it is damaged, or no slide"
        )


def check_untiled_size(size: Size, name: str) -> None:
    if size.width * size.height > MAX_UNTILED_PX:
        raise SlideTooLarge(
            f"{name}: {size.width} x {size.height} px without tiles would have to be decoded at "
            f"once (limit {MAX_UNTILED_PX // 10**6} megapixels); save it as a tiled pyramidal TIFF"
        )


def check_block(size: Size, bytes_per_px: int, name: str) -> None:
    """A tile or compressed strip, decoded."""
    size_bytes = size.width * size.height * bytes_per_px
    if size_bytes > MAX_BLOCK_BYTES:
        raise SlideTooLarge(
            f"{name}: a block of {size.width} x {size.height} px would take "
            f"{size_bytes >> 20} MiB when decoded (limit {MAX_BLOCK_BYTES >> 20}); "
            "save it with tiles of 256 to 1024 px"
        )


def check_level_count(count: int, name: str) -> None:
    if count > MAX_LEVELS:
        raise SlideTooLarge(
            f"{name}: {count} pyramid levels (limit {MAX_LEVELS}); a slide has about 10"
        )
