"""tiffslide: tiles that are not there, false colours refused, slides behind a web server."""

import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.wsi.readers.tiffs import make_pixels, write_pyramid, write_tiff
from wsi.errors import CorruptSlide, SlideNotFound, SlideTooLarge, UnsupportedSlide
from wsi.geometry import Box
from wsi.identity import slide_identity
from wsi.readers import open_slide
from wsi.readers.tiffslide import _remote_error


class RangeHandler(http.server.SimpleHTTPRequestHandler):
    """Serves parts of files, as object stores do; Python's own handler does not."""

    ranges = True

    def do_GET(self) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        if not asked or not path.is_file() or not self.ranges:
            super().do_GET()
            return
        data = path.read_bytes()
        start = int(asked[1])
        part = data[start : int(asked[2]) + 1 if asked[2] else None]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def end_headers(self) -> None:
        if self.ranges:
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("ETag", '"v1"')
        super().end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path, handler: type = RangeHandler) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(handler, directory=str(folder))
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_slide_behind_a_web_server_has_the_pixels_of_the_file(tmp_path: Path):
    levels = write_pyramid(tmp_path / "a slide.tiff", [(403, 301), (201, 150)])
    with served(tmp_path) as url, open_slide(f"{url}/a%20slide.tiff") as slide:
        info = slide.info
        assert (info.reader, info.files, info.size) == ("tiffslide", (), (403, 301))
        assert info.mpp == pytest.approx((0.5, 0.5))
        for n, pixels in enumerate(levels):
            height, width = pixels.shape[:2]
            np.testing.assert_array_equal(slide.read_level(n, Box(0, 0, width, height)), pixels)
        assert slide_identity(info) == {
            "url": f"{url}/a%20slide.tiff",
            "size_bytes": (tmp_path / "a slide.tiff").stat().st_size,
            "etag": "v1",
        }


def test_a_missing_remote_slide_is_not_found(tmp_path: Path):
    with served(tmp_path) as url, pytest.raises(SlideNotFound, match="no such object"):
        open_slide(f"{url}/none.svs")


def test_a_server_that_nobody_runs_is_not_found(tmp_path: Path):
    with served(tmp_path) as url:
        pass
    with pytest.raises(SlideNotFound, match="no such server"):
        open_slide(f"{url}/a.svs")


def test_a_remote_file_passes_the_same_gate(tmp_path: Path):
    write_pyramid(tmp_path / "many.tiff", [(70, 70)] * 33)
    (tmp_path / "text.svs").write_text("no slide, but long enough for a header")
    with served(tmp_path) as url:
        with pytest.raises(SlideTooLarge, match="33 pyramid levels"):
            open_slide(f"{url}/many.tiff")
        with pytest.raises(UnsupportedSlide, match="only TIFF slides"):
            open_slide(f"{url}/text.svs")


def test_a_missing_library_for_s3_names_the_extra_to_install():
    error = _remote_error("s3://bucket/a.svs", ImportError("Install s3fs to access S3"))
    assert isinstance(error, UnsupportedSlide)
    assert "pip install 'wsi-heatmap[s3]'" in str(error)


def test_tiles_that_were_not_scanned_are_background(tmp_path: Path):
    """Sparse TIFFs list them with a length of 0; decoders then give black."""
    path = tmp_path / "a.tiff"
    pixels = make_pixels(192, 128)
    tiles = [pixels[y : y + 64, x : x + 64] for y in (0, 64) for x in (0, 64, 128)]
    stored = [tile.tobytes() for tile in tiles]
    stored[1] = stored[5] = b""
    with tifffile.TiffWriter(path) as file:
        options = {"photometric": "rgb", "tile": (64, 64), "metadata": None, "compression": 8}
        import zlib

        file.write(
            (zlib.compress(data) if data else data for data in stored),
            shape=pixels.shape,
            dtype=np.uint8,
            **options,
        )
    expected = pixels.copy()
    expected[:64, 64:128] = 255
    expected[64:, 128:] = 255
    with open_slide(path, reader="tiffslide") as slide:
        np.testing.assert_array_equal(slide.read_level(0, Box(0, 0, 192, 128)), expected)
        part = slide.read_level(0, Box(60, 60, 80, 10))
        np.testing.assert_array_equal(part, expected[60:70, 60:140])


def test_ycbcr_jpeg2000_tiles_are_refused_rather_than_shown_in_false_colours(tmp_path: Path):
    from tests.wsi.readers.test_gate import CODEC, patch_tag

    path = write_tiff(tmp_path / "a.tif", make_pixels(64, 64))
    patch_tag(path, CODEC, 33003)
    with pytest.raises(UnsupportedSlide, match="false colours"):
        open_slide(path, reader="tiffslide")


def test_a_tile_that_cannot_be_decoded_is_corrupt(tmp_path: Path):
    path = write_tiff(tmp_path / "a.tif", make_pixels(200, 200), compression="zlib")
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        start, length = page.dataoffsets[5], page.databytecounts[5]
    data = bytearray(path.read_bytes())
    data[start : start + length] = b"\xaa" * length
    path.write_bytes(data)
    with open_slide(path, reader="tiffslide") as slide:
        slide.read_level(0, Box(0, 0, 64, 64))
        with pytest.raises(CorruptSlide, match="level 0, x 70, y 70"):
            slide.read_level(0, Box(70, 70, 10, 10))


@pytest.mark.real_data
def test_the_untiled_kidney_is_read_by_request(real_data: Path):
    path = real_data / "slides" / "kidney-untiled-no-mpp.tif"
    raw = tifffile.imread(path)
    with open_slide(path, reader="tiffslide") as slide:
        np.testing.assert_array_equal(slide.read_level(0, Box(0, 0, 1493, 901)), raw)
        part = slide.read_level(0, Box(1480, 890, 20, 20))
        np.testing.assert_array_equal(part[:11, :13], raw[890:, 1480:])
        assert (part[11:] == 255).all()


@pytest.mark.real_data
def test_tiffslide_says_that_it_reads_no_dicom(real_data: Path):
    with pytest.raises(UnsupportedSlide, match="no TIFF"):
        open_slide(real_data / "slides" / "bone-raw.dcm", reader="tiffslide")


def test_a_tiff_that_tiffslide_refuses_is_closed_again(tmp_path: Path):
    path = write_tiff(
        tmp_path / "a.tiff",
        make_pixels(128, 128),
        description='Leica<scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01"></scn>',
    )
    with pytest.raises(UnsupportedSlide, match="tiffslide does not show this TIFF") as caught:
        open_slide(path, mpp=0.5, reader="tiffslide")
    assert caught.value.__cause__ is not None  # its frames would keep the file open
    open_files = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.exists()]
    assert path not in open_files
