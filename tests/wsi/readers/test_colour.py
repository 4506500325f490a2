"""ICC profiles: kept as they are, applied on request."""

import io
import struct
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
        source = ImageCms.getOpenProfile(io.BytesIO(slide.info.icc_profile))
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


def make_linear_profile() -> bytes:
    """sRGB's primaries (adapted to D50), but light in proportion to the numbers."""

    def fixed(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    tags = {
        b"rXYZ": b"XYZ \0\0\0\0" + fixed(0.43607, 0.22249, 0.01392),
        b"gXYZ": b"XYZ \0\0\0\0" + fixed(0.38515, 0.71687, 0.09708),
        b"bXYZ": b"XYZ \0\0\0\0" + fixed(0.14307, 0.06061, 0.71410),
        b"wtpt": b"XYZ \0\0\0\0" + fixed(0.9642, 1.0, 0.8249),
    }
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), b"curv" + b"\0" * 8)  # no entry: identity
    table, data, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">II", start + len(data), len(value))
        data += value
    header = struct.pack(">I4xI4s4s4s", start + len(data), 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    header = header.ljust(36, b"\0") + b"acsp".ljust(32, b"\0") + fixed(0.9642, 1.0, 0.8249)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + data


def test_linear_light_is_encoded_as_srgb(tmp_path: Path):
    """By the formula of IEC 61966-2-1: a fifth of the light (51 of 255) is shown as 124."""
    greys = np.array([0, 13, 51, 128, 255], np.uint8)
    pixels = np.repeat(greys[None, :, None], 3, axis=2)
    write_tiff(tmp_path / "a.tif", pixels, iccprofile=make_linear_profile())
    with open_slide(tmp_path / "a.tif", apply_icc=True) as slide:
        shown = slide.read_level(0, Box(0, 0, 5, 1))[0].astype(int)
    expected = 255 * (1.055 * (greys[1:] / 255) ** (1 / 2.4) - 0.055)
    assert round(expected[1]) == 124
    assert np.abs(shown[1:] - expected[:, None]).max() <= 1.5
    assert shown[0].tolist() == [0, 0, 0]
