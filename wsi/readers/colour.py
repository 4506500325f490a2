"""Colours as a slide's ICC profile means them, in sRGB."""

import io
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from wsi.errors import UnsupportedSlide
from wsi.geometry import Box
from wsi.readers.base import BaseSlide
from wsi.slide import Slide

__all__ = ["SrgbSlide", "to_srgb"]

NO_CACHE = 0x0040  # cmsFLAGS_NOCACHE of Little CMS: its one-pixel cache is not safe across threads


class SrgbSlide(BaseSlide):
    """A slide whose pixels are turned into sRGB as they are read. Background stays as it is.

    `info.icc_profile` is None: there is nothing left to apply. Closing it closes the slide.
    """

    def __init__(self, slide: Slide) -> None:
        from PIL import ImageCms

        info = slide.info
        super().__init__(replace(info, icc_profile=None))
        self._slide = slide
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(info.icc_profile or b""))
            self._transform = ImageCms.buildTransform(
                profile,
                ImageCms.createProfile("sRGB"),
                "RGB",
                "RGB",
                ImageCms.Intent.PERCEPTUAL,
                ImageCms.Flags(NO_CACHE),
            )
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
            raise UnsupportedSlide(
                f"{info.path}: its ICC profile cannot be used ({error}); open it without apply_icc"
            ) from error

    def _read_inside(self, level: int, box: Box) -> NDArray[np.uint8]:
        from PIL import Image

        picture = Image.fromarray(self._slide.read_level(level, box))
        return np.array(self._transform.apply(picture))

    def _release(self) -> None:
        self._slide.close()


def to_srgb(slide: Slide) -> Slide:
    """The slide itself where it has no profile: it is taken to be sRGB already."""
    return slide if slide.info.icc_profile is None else SrgbSlide(slide)
