"""Slides in stores of objects: s3:// and others that fsspec knows."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.wsi.readers.test_remote import WHOLE, write_noise
from tests.wsi.readers.webserver import WebServer, serving
from wsi.errors import SlideNotFound, SlideUnreachable, UnsupportedSlide
from wsi.geometry import Box
from wsi.identity import slide_identity
from wsi.readers import open_slide
from wsi.readers.objectranges import error_from_store


def test_an_object_in_any_store_that_fsspec_knows_is_read(tmp_path: Path):
    import fsspec

    pixels = write_noise(tmp_path)
    store = fsspec.filesystem("memory")
    store.pipe("/bucket/a.tiff", (tmp_path / "a.tiff").read_bytes())
    try:
        with open_slide("memory://bucket/a.tiff") as slide:
            assert slide.info.reader == "tiff"
            np.testing.assert_array_equal(slide.read_level(0, WHOLE), pixels)
            identity = slide_identity(slide.info)
        assert identity["size_bytes"] == (tmp_path / "a.tiff").stat().st_size
        with pytest.raises(SlideNotFound, match="no such object"):
            open_slide("memory://bucket/none.tiff")
    finally:
        store.store.clear()


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    """An object store of one bucket, where s3fs looks for it."""
    s3fs = pytest.importorskip("s3fs")
    (tmp_path / "bucket").mkdir()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with serving(tmp_path) as web:
        monkeypatch.setenv("AWS_ENDPOINT_URL", web.url)
        yield web
        s3fs.S3FileSystem.clear_instance_cache()


def test_an_object_in_s3_is_read_by_ranges_of_one_version(bucket: WebServer):
    pixels = write_noise(bucket.folder / "bucket")
    with open_slide("s3://bucket/a.tiff") as slide:
        np.testing.assert_array_equal(slide.read_level(0, WHOLE), pixels)
        asked = [head for head in bucket.headers if "Range" in head]
        assert asked
        assert all(head["If-Match"] == '"v1"' for head in asked)
        bucket.etag = '"v2"'
        with pytest.raises(SlideUnreachable, match="no longer the one that was opened"):
            slide.read_level(1, Box(0, 0, 200, 150))
        identity = {"url": "s3://bucket/a.tiff", "etag": "v1"}
        assert slide_identity(slide.info).items() >= identity.items()


def test_an_object_that_is_not_in_its_bucket_is_not_found(bucket: WebServer):
    with pytest.raises(SlideNotFound, match="no such object"):
        open_slide("s3://bucket/none.tiff")


def test_what_a_store_says_of_a_password_in_its_address_is_not_passed_on(bucket: WebServer):
    with pytest.raises(SlideNotFound, match=r"s3://bucket/a\.tiff: cannot be read") as caught:
        open_slide("s3://AKIA:SECRET@bucket/a.tiff")
    assert "Invalid bucket name" in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_a_missing_library_for_s3_names_the_extra_to_install():
    error = error_from_store("s3://bucket/a.svs", ImportError("Install s3fs to access S3"))
    assert isinstance(error, UnsupportedSlide)
    assert "pip install 'wsi-heatmap[s3]'" in str(error)
