"""ICC profiles: kept as they are, applied on request."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.wsi.readers.tiffs import make_pixels, write_tiff
from wsi.errors import UnsupportedSlide
from wsi.geometry import Box
from wsi.readers import open_slide


def test_an_srgb_profile_changes_nothing_by_more_than_rounding(tmp_path: Path):
    pixels = make_pixels(90, 70)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    write_tiff(tmp_path / "a.tif", pixels, iccprofile=profile)
    with open_slide(tmp_path / "a.tif", apply_icc=True) as slide:
        assert slide.info.icc_profile is None
        shown = slide.read_level(0, Box(0, 0, 90, 70))
    assert np.abs(shown.astype(int) - pixels).max() <= 1


@pytest.mark.real_data
def test_a_scanners_profile_is_kept_and_applied_as_pillow_does(real_data: Path):
    path = real_data / "slides" / "boxes.tiff"
    box = Box(0, 0, 300, 250)
    with open_slide(path) as slide, open_slide(path, apply_icc=True) as shown:
        assert slide.info.icc_profile is not None
        assert len(slide.info.icc_profile) == 588
        raw = Image.fromarray(slide.read_level(0, box))
        source = ImageCms.getOpenProfile(__import__("io").BytesIO(slide.info.icc_profile))
        expected = ImageCms.profileToProfile(raw, source, ImageCms.createProfile("sRGB"))
        np.testing.assert_array_equal(shown.read_level(0, box), np.asarray(expected))
        outside = shown.read_level(0, Box(295, 0, 10, 1))
        assert (outside[:, 5:] == 255).all()


def test_a_damaged_profile_is_no_matter_until_it_is_asked_for(tmp_path: Path):
    write_tiff(tmp_path / "a.tif", make_pixels(90, 70), iccprofile=b"not a profile")
    with open_slide(tmp_path / "a.tif") as slide:
        assert slide.info.icc_profile == b"not a profile"
    with pytest.raises(UnsupportedSlide, match="without apply_icc"):
        open_slide(tmp_path / "a.tif", apply_icc=True)


def test_a_slide_without_a_profile_is_taken_to_be_srgb(tmp_path: Path):
    pixels = make_pixels(90, 70)
    write_tiff(tmp_path / "a.tif", pixels)
    with open_slide(tmp_path / "a.tif", apply_icc=True) as slide:
        np.testing.assert_array_equal(slide.read_level(0, Box(0, 0, 90, 70)), pixels)
