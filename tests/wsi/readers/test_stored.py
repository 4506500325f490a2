"""Bytes of tiles out of a local file."""

from pathlib import Path

import pytest

from wsi.readers.stored import LocalFile
from wsi.readers.tiffplan import Span


def test_bytes_come_in_the_order_in_which_they_are_asked_for(tmp_path: Path):
    (tmp_path / "a").write_bytes(bytes(range(100)))
    file = LocalFile(tmp_path / "a")
    parts = file.read_spans([Span(50, 2), Span(10, 3), Span(50, 2)])
    assert [list(part) for part in parts] == [[50, 51], [10, 11, 12], [50, 51]]
    file.close()
    file.close()


def test_a_file_that_ends_too_early_is_said_to(tmp_path: Path):
    (tmp_path / "a").write_bytes(bytes(100))
    file = LocalFile(tmp_path / "a")
    with pytest.raises(ValueError, match="the file ends before byte 105"):
        file.read_spans([Span(95, 10)])
    file.close()
