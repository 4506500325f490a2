"""Slides behind a URL: the pixels of the file, few of its bytes, and what may go wrong."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.wsi.readers.native_tiffs import write_sparse
from tests.wsi.readers.repeated import write_repeated
from tests.wsi.readers.tiffs import make_pixels, write_pyramid, write_tiff
from tests.wsi.readers.webserver import WebServer, serving
from wsi.errors import (
    CorruptSlide,
    SlideNotFound,
    SlideTooLarge,
    SlideUnreachable,
    UnsupportedSlide,
    WsiError,
)
from wsi.geometry import Box
from wsi.identity import slide_identity
from wsi.readers import open_slide
from wsi.readers.httpranges import HttpRanges
from wsi.readers.remote import RemoteFile
from wsi.readers.tiffplan import Span
from wsi.slide import RemoteIdentity

WHOLE = Box(0, 0, 400, 300)
AT_ONCE = (0.0, 0.0, 0.0)


def write_noise(folder: Path) -> np.ndarray:
    return write_pyramid(folder / "a.tiff", [(400, 300), (200, 150)])[0]


def write_bytes(folder: Path, size_bytes: int = 200_000) -> bytes:
    data = np.random.default_rng(0).bytes(size_bytes)
    (folder / "data").write_bytes(data)
    return data


def cut_in_the_last_tile(path: Path) -> None:
    """Of the smaller level; all others stay."""
    with tifffile.TiffFile(path) as file:
        end = file.pages[1].dataoffsets[-1]
    path.write_bytes(path.read_bytes()[: end + 10])


def ranges_asked(web: WebServer) -> list[tuple[int, int]]:
    """First byte and one past the last, of each request."""
    asked = [re.fullmatch(r"bytes=(\d+)-(\d+)", head["Range"]) for head in web.headers]
    return [(int(found[1]), int(found[2]) + 1) for found in asked if found]


class CountedRanges:
    """Bytes in memory behind the seam of a server; the first range waits until it is released."""

    def __init__(self, data: bytes) -> None:
        self.data, self.fetched = data, list[tuple[int, int]]()
        self.identity = RemoteIdentity(len(data), None)
        self.asked, self.released = threading.Event(), threading.Event()

    def fetch(self, offset: int, size_bytes: int) -> bytes:
        self.fetched.append((offset, size_bytes))
        self.asked.set()
        self.released.wait()
        return self.data[offset : offset + size_bytes]

    def close(self) -> None: ...


def test_a_slide_behind_a_web_server_has_the_pixels_of_the_file(tmp_path: Path):
    levels = write_pyramid(tmp_path / "a slide.tiff", [(403, 301), (201, 150)])
    with serving(tmp_path) as web, open_slide(f"{web.url}/a%20slide.tiff") as slide:
        info = slide.info
        assert (info.reader, info.files, info.size) == ("tiff", (), (403, 301))
        assert info.mpp == pytest.approx((0.5, 0.5))
        for n, pixels in enumerate(levels):
            height, width = pixels.shape[:2]
            np.testing.assert_array_equal(slide.read_level(n, Box(0, 0, width, height)), pixels)


def test_url_size_and_etag_at_its_opening_are_the_identity_of_a_remote_slide(tmp_path: Path):
    write_noise(tmp_path)
    size_bytes = (tmp_path / "a.tiff").stat().st_size
    with serving(tmp_path) as web, open_slide(f"{web.url}/a.tiff?signature=x") as slide:
        asked = web.requests
        expected = {"url": f"{web.url}/a.tiff", "size_bytes": size_bytes, "etag": "v1"}
        assert slide_identity(slide.info) == expected
        assert web.requests == asked


def test_two_slides_of_one_address_differ_by_what_the_query_says(tmp_path: Path):
    write_noise(tmp_path)
    found = []
    with serving(tmp_path) as web:
        web.etag, web.modified = None, "Mon, 02 Nov 2026 00:00:00 GMT"
        for query in ("id=1", "id=1&signature=x", "id=2"):
            with open_slide(f"{web.url}/a.tiff?{query}") as slide:
                found.append(slide_identity(slide.info))
    assert found[0] == found[1] != found[2]
    assert found[0]["modified"] == "Mon, 02 Nov 2026 00:00:00 GMT"


def test_a_remote_level_costs_its_own_bytes_and_little_more(tmp_path: Path):
    """20,480 px a side at 40x: 6,400 tiles, of which the 1/16 level has 25."""
    path = write_repeated(tmp_path / "a.tiff", side_px=20_480)
    with tifffile.TiffFile(path) as file:
        needed = sum(file.pages[2].databytecounts)
        first, last = (file.pages[0].tags[code] for code in (324, 325))
        tables = [(tag.valueoffset, tag.valueoffset + tag.valuebytecount) for tag in (first, last)]
    with serving(tmp_path) as web, open_slide(f"{web.url}/a.tiff") as slide:
        slide.read_level(2, Box(0, 0, 1280, 1280))
        assert web.sent_bytes < needed + 5 * 16_384
        assert web.sent_bytes < 0.03 * path.stat().st_size
        of_tables = [
            max(0, min(stop, end) - max(start, begin))
            for start, stop in ranges_asked(web)
            for begin, end in tables
        ]
        assert sum(end - begin for begin, end in tables) > 50_000
        assert sum(of_tables) < 16_384  # what shares a block with a directory
        sent = web.sent_bytes
        slide.read_level(2, Box(300, 300, 700, 700))
        assert web.sent_bytes == sent


def test_an_untiled_slide_is_read_from_a_url_too(tmp_path: Path):
    pixels = make_pixels(300, 200)
    write_tiff(tmp_path / "a.tif", pixels, tile=None, compression="zlib", rowsperstrip=32)
    with serving(tmp_path) as web, open_slide(f"{web.url}/a.tif", mpp=0.5) as slide:
        assert (slide.info.reader, slide.info.why) == ("tiffslide", "it has no tiles")
        np.testing.assert_array_equal(slide.read_level(0, Box(0, 0, 300, 200)), pixels)


def test_remote_tiles_that_were_not_scanned_are_background(tmp_path: Path):
    pixels = make_pixels(192, 128)
    path = write_sparse(tmp_path / "a.tif", pixels, missing=(1, 4))
    with serving(tmp_path) as web, open_slide(f"{web.url}/a.tif", mpp=0.5) as slide:
        shown = slide.read_level(0, Box(0, 0, 192, 128))
    with open_slide(path, mpp=0.5) as slide:
        np.testing.assert_array_equal(shown, slide.read_level(0, Box(0, 0, 192, 128)))
    assert (shown == 255).all(axis=(1, 2)).sum() == 0
    assert (shown[:64, 64:128] == 255).all()


def test_what_other_readers_need_is_a_local_file(tmp_path: Path):
    for reader in ("openslide", "image"):
        with pytest.raises(UnsupportedSlide, match="reads local files only"):
            open_slide("https://localhost/a.svs", reader=reader)


def test_a_connection_that_breaks_is_made_again(tmp_path: Path):
    pixels = write_noise(tmp_path)
    with serving(tmp_path) as web, open_slide(f"{web.url}/a.tiff") as slide:
        web.failing = ["cut"]
        np.testing.assert_array_equal(slide.read_level(0, WHOLE), pixels)
        assert web.failing == []


@pytest.mark.parametrize("failing", [["cut", 503, "cut"], [429, 500, 502]])
def test_the_fourth_try_counts(tmp_path: Path, failing: list[object]):
    data = write_bytes(tmp_path)
    with serving(tmp_path) as web:
        ranges = HttpRanges(f"{web.url}/data", AT_ONCE)
        web.failing = failing
        assert ranges.fetch(50_000, 1000) == data[50_000:51_000]
        ranges.close()


def test_a_server_that_breaks_for_good_is_one_sentence_and_no_damage(tmp_path: Path):
    write_bytes(tmp_path)
    with serving(tmp_path) as web:
        remote = RemoteFile(HttpRanges(f"{web.url}/data?signature=secret", AT_ONCE))
        web.failing = [503] * 4
        with pytest.raises(SlideUnreachable, match=r"answers 503, after 4 tries\)") as caught:
            remote.read_spans([Span(50_000, 10)])
        assert "secret" not in str(caught.value)
        assert len(remote.read_spans([Span(50_000, 10)])[0]) == 10  # it is back
        remote.close()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"etag": '"v1"'}, {"etag": '"v2"'}),
        ({"etag": None, "modified": "Mon, 02 Nov 2026 00:00:00 GMT"}, {"modified": "later"}),
    ],
)
def test_a_slide_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, before: dict[str, str], after: dict[str, str]
):
    write_noise(tmp_path)
    with serving(tmp_path) as web:
        vars(web).update(before)
        with open_slide(f"{web.url}/a.tiff") as slide:
            vars(web).update(after)
            with pytest.raises(SlideUnreachable, match="no longer the one that was opened"):
                slide.read_level(0, WHOLE)


def test_a_slide_that_grows_while_it_is_read_is_refused(tmp_path: Path):
    write_noise(tmp_path)
    with serving(tmp_path) as web, open_slide(f"{web.url}/a.tiff") as slide:
        with (tmp_path / "a.tiff").open("ab") as file:
            file.write(b"more")
        with pytest.raises(SlideUnreachable, match="no longer the one that was opened"):
            slide.read_level(0, WHOLE)


def test_a_server_without_ranges_is_refused_before_it_sends_all(tmp_path: Path):
    (tmp_path / "a.tiff").write_bytes(b"II*\0" + bytes(50_000_000))  # more than sockets hold
    with serving(tmp_path) as web:
        web.has_ranges = False
        with pytest.raises(UnsupportedSlide, match="does not serve parts of a file"):
            open_slide(f"{web.url}/a.tiff")
        assert web.hung_up.wait(60)
    assert web.requests == 1


def test_a_redirect_to_another_host_carries_no_password(tmp_path: Path):
    pixels = write_noise(tmp_path)
    with serving(tmp_path) as store, serving(tmp_path) as web:
        web.redirects = {"/a": f"{store.url}/a.tiff"}
        address = web.url.replace("//", "//user:word@") + "/a"
        with open_slide(address) as slide:
            np.testing.assert_array_equal(slide.read_level(0, WHOLE), pixels)
            assert slide_identity(slide.info)["url"] == f"{web.url}/a"
        assert "Authorization" in web.headers[0]
        assert not any("Authorization" in head for head in store.headers)
        assert (web.requests, store.requests > 2) == (1, True)


def test_a_redirect_that_has_run_out_is_asked_for_again(tmp_path: Path):
    data = write_bytes(tmp_path)
    with serving(tmp_path) as store, serving(tmp_path) as web:
        web.redirects = {"/a": f"{store.url}/data"}
        ranges = HttpRanges(f"{web.url}/a", AT_ONCE)
        store.failing = [403]
        assert ranges.fetch(50_000, 1000) == data[50_000:51_000]
        assert web.requests == 2
        ranges.close()


def test_a_redirect_that_runs_out_under_several_reads_is_asked_for_again_by_each(tmp_path: Path):
    """All of them have their answer before the first one asks again."""
    data = write_bytes(tmp_path)
    with serving(tmp_path) as store, serving(tmp_path) as web:
        (tmp_path / "old").write_bytes(data)
        web.redirects = {"/a": f"{store.url}/old"}
        ranges = HttpRanges(f"{web.url}/a", AT_ONCE)
        (tmp_path / "old").unlink()
        web.redirects = {"/a": f"{store.url}/data"}
        store.meeting = threading.Barrier(8, timeout=60)
        with ThreadPoolExecutor(8) as pool:
            parts = list(pool.map(lambda n: ranges.fetch(50_000 + n, 10), range(8)))
        assert parts == [data[50_000 + n : 50_010 + n] for n in range(8)]
        assert store.paths.count("/old") == 1 + 8
        ranges.close()


def test_a_slide_behind_a_password_is_read_with_it_and_refused_without(tmp_path: Path):
    pixels = write_noise(tmp_path)
    with serving(tmp_path) as web:
        web.password = "user:word"
        with open_slide(web.url.replace("//", "//user:word@") + "/a.tiff") as slide:
            np.testing.assert_array_equal(slide.read_level(0, WHOLE), pixels)
        with pytest.raises(SlideNotFound, match=r"does not give it to us \(401\)"):
            open_slide(f"{web.url}/a.tiff")


def test_a_missing_remote_slide_is_not_found(tmp_path: Path):
    with serving(tmp_path) as web, pytest.raises(SlideNotFound, match="no such object"):
        open_slide(f"{web.url}/none.svs")


@pytest.mark.parametrize(
    "url",
    ["https://[bad/x.svs", "https://host:abc/x.svs", "https://u:se#cret@host/x.svs", "https:///x"],
)
def test_a_malformed_address_is_not_found(url: str):
    with pytest.raises(SlideNotFound, match="the address is malformed"):
        open_slide(url)


@pytest.mark.parametrize("url", ["https://u:secret@-ü.de/x.svs", "https://u:secret@host/x\x01.svs"])
def test_an_address_that_only_its_library_refuses_is_not_found(url: str):
    with pytest.raises(SlideNotFound, match="the address is malformed") as caught:
        open_slide(url)
    assert "secret" not in str(caught.value)


def test_a_server_that_nobody_runs_is_not_found(tmp_path: Path):
    with serving(tmp_path) as web:
        pass
    with pytest.raises(SlideNotFound, match="no such server"):
        open_slide(f"{web.url}/a.svs")


def test_a_remote_file_passes_the_same_gate(tmp_path: Path):
    write_pyramid(tmp_path / "many.tiff", [(70, 70)] * 33)
    (tmp_path / "text.svs").write_text("no slide, but long enough for a header")
    (tmp_path / "empty.svs").touch()
    with serving(tmp_path) as web:
        with pytest.raises(SlideTooLarge, match="33 pyramid levels"):
            open_slide(f"{web.url}/many.tiff")
        with pytest.raises(UnsupportedSlide, match="only TIFF slides"):
            open_slide(f"{web.url}/text.svs")
        with pytest.raises(CorruptSlide, match="the file is empty"):
            open_slide(f"{web.url}/empty.svs")


def test_a_remote_file_that_was_cut_short_is_corrupt_where_it_ends(tmp_path: Path):
    pixels = write_noise(tmp_path)
    cut_in_the_last_tile(tmp_path / "a.tiff")
    with serving(tmp_path) as web, open_slide(f"{web.url}/a.tiff") as slide:
        np.testing.assert_array_equal(slide.read_level(0, WHOLE), pixels)
        with pytest.raises(CorruptSlide, match="the file ends before byte"):
            slide.read_level(1, Box(0, 0, 200, 150))


def test_no_sentence_about_a_remote_slide_tells_its_signature(tmp_path: Path):
    write_noise(tmp_path)
    cut_in_the_last_tile(tmp_path / "a.tiff")
    said = []
    with serving(tmp_path) as web:
        public, signed = f"{web.url}/a.tiff", f"{web.url}/a.tiff?signature=secret"
        with open_slide(signed) as slide:
            assert slide.info.path == public
            for level, box in ((1, Box(0, 0, 200, 150)), (2, WHOLE)):
                with pytest.raises(WsiError) as caught:
                    slide.read_level(level, box)
                said.append(str(caught.value))
        with pytest.raises(UnsupportedSlide) as refused:
            open_slide(signed, reader="openslide")
    said.append(str(refused.value))
    assert [sentence.startswith(f"{public}: ") for sentence in said] == [True] * 3


def test_bytes_that_are_on_their_way_are_not_asked_for_twice():
    ranges = CountedRanges(bytes(range(200)))
    remote = RemoteFile(ranges)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(remote.read_spans, [Span(10, 5), Span(20, 5)])
        ranges.asked.wait()
        second = pool.submit(remote.read_spans, [Span(20, 5)])
        ranges.released.set()
        assert [bytes(part) for part in first.result()] == [
            bytes(range(10, 15)),
            bytes(range(20, 25)),
        ]
        assert bytes(second.result()[0]) == bytes(range(20, 25))
    assert ranges.fetched == [(10, 15)]
    remote.close()


def test_what_was_used_last_is_kept_within_its_limit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("wsi.readers.remote.KEPT_TILES_BYTES", 20)
    ranges = CountedRanges(bytes(200))
    ranges.released.set()
    remote = RemoteFile(ranges)
    for offset in (0, 10, 0, 20, 0, 10):  # the third one pushes out the second
        remote.read_spans([Span(offset, 10)])
    assert ranges.fetched == [(0, 10), (10, 10), (20, 10), (10, 10)]
    remote.close()
