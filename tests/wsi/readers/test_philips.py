"""Philips TIFFs: a stand-in that OpenSlide takes for one, tile by tile with OpenSlide's pixels."""

from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import openslide
import pytest
import tifffile
from numpy.typing import NDArray

from tests.wsi.readers.native_tiffs import over_white, smooth_pixels, worst_difference
from wsi.geometry import Box, Mpp
from wsi.readers import open_slide

TILE = 128


def attribute(name: str, kind: str, value: str) -> str:
    place = 'Group="0x0028" Element="0x0030"'
    return f'<Attribute Name="{name}" {place} PMSVR="{kind}">{value}</Attribute>'


def spacing(millimetres: float) -> str:
    pair = f"&quot;{millimetres}&quot; &quot;{millimetres}&quot;"
    return attribute("DICOM_PIXEL_SPACING", "IDoubleArray", pair)


def describe(spacings_mm: tuple[float, ...]) -> str:
    """What Philips writes into the first directory, as far as readers look."""
    levels = "".join(
        f'<DataObject ObjectType="PixelDataRepresentation">{spacing(mm)}</DataObject>'
        for mm in spacings_mm
    )
    sequence = "PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE"
    scanned = (
        '<DataObject ObjectType="DPScannedImage">'
        + attribute("PIM_DP_IMAGE_TYPE", "IString", "WSI")
        + spacing(spacings_mm[0])
        + attribute(sequence, "IDataObjectArray", f"<Array>{levels}</Array>")
        + "</DataObject>"
    )
    images = attribute("PIM_DP_SCANNED_IMAGES", "IDataObjectArray", f"<Array>{scanned}</Array>")
    return f'<?xml version="1.0"?><DataObject ObjectType="DPUfsImport">{images}</DataObject>'


def jpeg_tiles(pixels: NDArray[np.uint8], missing: tuple[int, ...]) -> Iterator[bytes]:
    number = 0
    for y in range(0, pixels.shape[0], TILE):
        for x in range(0, pixels.shape[1], TILE):
            tile = np.ascontiguousarray(pixels[y : y + TILE, x : x + TILE])
            yield b"" if number in missing else imagecodecs.jpeg8_encode(tile, level=85)
            number += 1


def write_philips(path: Path, missing: tuple[int, ...] = ()) -> Path:
    """512 x 384 and 170 x 128 px; as Philips does, the coarser level fills whole tiles."""
    pixels = smooth_pixels(512, 384)
    coarse = np.full((128, 256, 3), 255, np.uint8)
    coarse[:, :171] = pixels[::3, ::3]
    with tifffile.TiffWriter(path) as file:
        for i, level in enumerate((pixels, coarse)):
            first = {"description": describe((0.00025, 0.00075))} if not i else {"subfiletype": 1}
            file.write(
                jpeg_tiles(level, missing if not i else ()),
                shape=level.shape, dtype=np.uint8, tile=(TILE, TILE), photometric="ycbcr",
                subsampling=(2, 2), compression="jpeg", software="Philips DP v1.0",
                metadata=None, **first,
            )  # fmt: skip
    return path


@pytest.mark.parametrize("missing", [(), (0, 6)])
def test_each_level_of_a_philips_tiff_has_openslides_pixels(
    tmp_path: Path, missing: tuple[int, ...]
):
    path = write_philips(tmp_path / "a.tiff", missing)
    with open_slide(path) as slide, openslide.OpenSlide(path) as known:
        assert known.properties["openslide.vendor"] == "philips"
        assert (slide.info.reader, slide.info.vendor) == ("tiff", "philips")
        assert [level.size for level in slide.info.levels] == list(known.level_dimensions)
        for n, level in enumerate(slide.info.levels):
            shown = over_white(known.read_region((0, 0), n, level.size))
            assert worst_difference(slide.read_level(n, Box(0, 0, *level.size)), shown) <= 2
        if missing:
            assert (slide.read_level(0, Box(0, 0, TILE, TILE)) == 255).all()


def test_the_coarse_level_of_a_philips_tiff_is_as_large_as_its_spacing_says(tmp_path: Path):
    """The file stores 256 x 128 px of it: what is beyond 170 is padding."""
    with open_slide(write_philips(tmp_path / "a.tiff")) as slide:
        assert slide.info.levels[1].size == (170, 128)
        assert slide.info.mpp == Mpp(0.25, 0.25)
