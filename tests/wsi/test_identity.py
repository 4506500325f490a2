"""A slide's fingerprint."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wsi.errors import SlideNotFound
from wsi.geometry import Size
from wsi.identity import slide_identity
from wsi.slide import RemoteIdentity, SlideInfo


def make_info(*files: Path, path: str = "slide") -> SlideInfo:
    return SlideInfo(
        path=path,
        reader="test",
        vendor="test",
        size=Size(1, 1),
        levels=(),
        mpp=None,
        mpp_source=None,
        files=files,
    )


def test_one_file_is_its_own_sha256(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"abc")
    assert slide_identity(make_info(tmp_path / "a")) == {
        "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "size_bytes": 3,
        "file_count": 1,
    }


def test_several_files_are_one_whatever_their_names_and_order(tmp_path: Path):
    for name, data in (("a", b"one"), ("b", b"two!")):
        (tmp_path / name).write_bytes(data)
    digests = sorted(hashlib.sha256(data).hexdigest() for data in (b"one", b"two!"))
    first = slide_identity(make_info(tmp_path / "a", tmp_path / "b"))
    assert first["sha256"] == hashlib.sha256("\n".join(digests).encode()).hexdigest()
    assert (first["size_bytes"], first["file_count"]) == (7, 2)
    shutil.move(tmp_path / "a", tmp_path / "z")
    assert slide_identity(make_info(tmp_path / "b", tmp_path / "z")) == first


def test_a_file_larger_than_a_chunk_is_hashed_whole(tmp_path: Path):
    data = bytes(range(256)) * 8193
    (tmp_path / "a").write_bytes(data)
    found = slide_identity(make_info(tmp_path / "a"))
    assert found["sha256"] == hashlib.sha256(data).hexdigest()


def test_a_file_that_has_gone_is_not_found(tmp_path: Path):
    with pytest.raises(SlideNotFound, match="it cannot be read any more"):
        slide_identity(make_info(tmp_path / "gone"))


REMOTE = {"size_bytes": 3, "etag": None}


def remote_identity(remote: RemoteIdentity) -> dict[str, Any]:
    info = replace(make_info(path="https://host/x.svs"), remote=remote)
    identity = slide_identity(info)
    assert identity.pop("url") == "https://host/x.svs"
    return identity


def test_an_etag_says_which_remote_file_it_is():
    assert remote_identity(RemoteIdentity(3, "v1")) == {"size_bytes": 3, "etag": "v1"}


def test_without_an_etag_its_time_says_so_and_without_one_its_size_alone():
    when = "Mon, 02 Nov 2026 00:00:00 GMT"
    assert remote_identity(RemoteIdentity(3, None, when)) == {**REMOTE, "modified": when}
    assert remote_identity(RemoteIdentity(3, None)) == REMOTE


def test_what_the_query_says_is_part_of_it():
    found = remote_identity(RemoteIdentity(3, "v1", None, "abc"))
    assert found == {"size_bytes": 3, "etag": "v1", "query_sha256": "abc"}
