"""The header of a PNG, JPEG or BMP, by Pillow; its limits are ours, so its own are passed by."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from wsi.errors import CorruptSlide

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

__all__ = ["open_picture"]


def open_picture(path: Path, kind: str, name: str) -> "ImageFile":
    """Reads no pixel. CorruptSlide where the header is damaged.

    `Image.open` warns from 89 megapixels on and refuses 179, by a setting of the whole process.
    """
    from PIL.BmpImagePlugin import BmpImageFile
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile

    plugins: dict[str, Callable[[Path], ImageFile]] = {
        "png": PngImageFile,
        "jpeg": JpegImageFile,
        "bmp": BmpImageFile,
    }
    try:
        return plugins[kind](path)
    except Exception as error:  # Pillow has no base class for damaged files
        raise CorruptSlide(
            f"{name}: damaged {kind.upper()} header ({error}); copy it again from its source"
        ) from error
