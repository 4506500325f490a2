"""Every reader keeps the contract, on files made here and on real ones."""

from pathlib import Path

import numpy as np
import pytest

from tests.wsi.readers.reader_contract import OpenSlide, ReaderContract
from tests.wsi.readers.tiffs import make_pixels, write_pyramid, write_tiff
from wsi.errors import InvalidOption
from wsi.geometry import Mpp
from wsi.readers import open_slide
from wsi.readers.array import ArraySlide
from wsi.readers.kept import KeptLevel
from wsi.slide import Slide


class TestArray(ReaderContract):
    @pytest.fixture
    def open_it(self) -> OpenSlide:
        levels = [make_pixels(90, 70), make_pixels(45, 35)]
        return lambda: ArraySlide(levels, Mpp(0.5, 0.5), background=(9, 8, 7))


class TestOpenSlide(ReaderContract):
    @pytest.fixture
    def open_it(self, tmp_path: Path) -> OpenSlide:
        write_pyramid(tmp_path / "a.tiff", [(403, 301), (201, 150), (100, 75)])
        return lambda: open_slide(tmp_path / "a.tiff", reader="openslide")


class TestTiffSlide(ReaderContract):
    @pytest.fixture
    def open_it(self, tmp_path: Path) -> OpenSlide:
        write_pyramid(tmp_path / "a.tiff", [(403, 301), (201, 150), (100, 75)])
        return lambda: open_slide(tmp_path / "a.tiff", reader="tiffslide")


class TestImage(ReaderContract):
    @pytest.fixture
    def open_it(self, tmp_path: Path) -> OpenSlide:
        write_tiff(tmp_path / "a.tiff", make_pixels(2345, 1203), tile=None)
        return lambda: open_slide(tmp_path / "a.tiff", reader="image")


class TestInSrgb(ReaderContract):
    @pytest.fixture
    def open_it(self, tmp_path: Path) -> OpenSlide:
        from PIL import ImageCms

        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        write_pyramid(tmp_path / "a.tiff", [(403, 301), (201, 150)], iccprofile=profile)
        return lambda: open_slide(tmp_path / "a.tiff", apply_icc=True)


class TestKeptLevel(ReaderContract):
    @pytest.fixture
    def open_it(self, tmp_path: Path) -> OpenSlide:
        write_pyramid(tmp_path / "a.tiff", [(403, 301), (201, 150), (100, 75)])
        return lambda: KeptLevel(open_slide(tmp_path / "a.tiff"), 1)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "reader"),
    [
        ("CMU-1-Small-Region.svs", "openslide"),
        ("CMU-1-Small-Region.svs", "tiffslide"),
        ("tcga-cr-7395-jp2k-no-mpp.svs", "openslide"),
        ("camelyon-multiframe.dcm", "openslide"),
        ("highdicom-sm-image.dcm", "openslide"),
        ("boxes.tiff", "tiffslide"),
        ("orientation-3.tif", "openslide"),
        ("kidney-untiled-no-mpp.tif", "tiffslide"),
        ("kidney-untiled-no-mpp.tif", "image"),
    ],
)
class TestRealSlides(ReaderContract):
    @pytest.fixture
    def open_it(self, real_data: Path, name: str, reader: str) -> OpenSlide:
        return lambda: open_slide(real_data / "slides" / name, reader=reader)


def test_close_waits_for_a_read_that_has_begun():
    """Else a library's memory would be freed while it decodes."""
    import threading

    began, go_on = threading.Event(), threading.Event()

    class SlowSlide(ArraySlide):
        def _read_inside(self, level: int, box: object) -> np.ndarray:
            began.set()
            assert go_on.wait(60)
            assert self._levels, "closed under a read"
            return np.zeros((1, 1, 3), np.uint8)

    slide: Slide = SlowSlide([make_pixels(4, 4)])
    results: list[object] = []
    from wsi.geometry import Box

    reader = threading.Thread(target=lambda: results.append(slide.read_level(0, Box(0, 0, 1, 1))))
    reader.start()
    assert began.wait(60)
    closer = threading.Thread(target=slide.close)
    closer.start()
    while not slide._closed:  # type: ignore[attr-defined]
        pass
    assert closer.is_alive()
    go_on.set()
    reader.join(60)
    closer.join(60)
    assert len(results) == 1


@pytest.mark.parametrize("levels", [[], [np.zeros((0, 5, 3), np.uint8)]])
def test_a_pyramid_without_pixels_is_refused(levels: list[np.ndarray]):
    with pytest.raises(InvalidOption, match="give at least one"):
        ArraySlide(levels)
