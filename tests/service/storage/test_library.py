"""Slides come in whole and checked, once a tenant, or leave nothing behind."""

import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from service.errors import (
    ChecksumMismatch,
    Conflict,
    InvalidRequest,
    NotFound,
    QuotaExceeded,
    TooLarge,
    TooManyRequests,
    UnsupportedMedia,
    UploadStalled,
)
from service.storage.incoming import BLOCK_BYTES
from service.storage.library import Library, Stored
from tests.service.shelving import (
    TENANT,
    add_job,
    add_result,
    files_of,
    make_library,
    make_settings,
    tiff_bytes,
    upload_at_once,
)
from wsi.errors import CorruptSlide, SlideTooLarge, UnsupportedSlide, WsiError
from wsi.readers import open_slide


async def in_chunks(body: bytes, size: int = 65_536) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


def receive(library: Library, body: bytes, **options: object) -> Stored:
    options = {"media_type": None, "content_length": len(body), **options}
    chunks = options.pop("chunks", None) or in_chunks(body)
    return asyncio.run(library.receive(TENANT, chunks, **options))  # type: ignore[arg-type]


def test_a_body_is_stored_under_a_name_of_our_own_and_opens(data: Path, library: Library):
    body = tiff_bytes()
    stored = receive(library, body, media_type="image/tiff")
    slide = library.get(TENANT, stored.slide.id)
    assert stored == Stored(slide, created=True)
    assert (slide.sha256, slide.size_bytes) == (hashlib.sha256(body).hexdigest(), len(body))
    assert (slide.kind, slide.facts, slide.created_at) == ("file", None, 1000.0)
    assert files_of(data) == [f"slides/{slide.id}/slide.tif"]
    assert slide.path.read_bytes() == body
    with open_slide(slide.path) as opened:
        assert opened.info.size == (200, 130)


def test_the_same_bytes_again_are_the_slide_of_before_and_another_tenants_are_not(
    data: Path, library: Library
):
    first = library.store(TENANT, [tiff_bytes()])
    again = library.store(TENANT, [tiff_bytes()])
    other = library.store("t2", [tiff_bytes()])
    assert again == Stored(first.slide, created=False)
    assert other.created
    assert other.slide.id != first.slide.id
    assert len(files_of(data)) == 2


def test_bytes_that_come_again_while_their_slide_is_deleted_are_stored(
    data: Path, engine: Engine, library: Library
):
    first = library.store(TENANT, [tiff_bytes()]).slide

    left = [first.id]

    def delete_meanwhile(*execution: object) -> None:
        if "slides.sha256 = " in str(execution[2]) and left:
            library.delete(TENANT, left.pop())

    event.listen(engine, "after_cursor_execute", delete_meanwhile)
    again = library.store(TENANT, [tiff_bytes()])
    assert again.created
    assert library.get(TENANT, again.slide.id) == again.slide
    assert files_of(data) == [f"slides/{again.slide.id}/slide.tif"]


@pytest.mark.parametrize(
    ("description", "suffix"),
    [("Aperio Image Library v11\n8x8", ".svs"), ("Leica? no", ".tif"), (None, ".tif")],
)
def test_the_extension_is_that_of_the_format(
    library: Library, description: str | None, suffix: str
):
    body = tiff_bytes(description=description)
    assert library.store(TENANT, [body]).slide.path.name == f"slide{suffix}"


BODIES = {
    "empty": (b"", "the body is empty"),
    "text": (b"hello, this is a text\n" * 50, "a text file"),
    "utf-8 cut in a character": ("ä".encode() * 511 + b"x\xc3\xa4", "a text file"),
    "html": (b"<!DOCTYPE html><html><body>log in</body></html>", "a web page"),
    "pdf": (b"%PDF-1.7\n\0\0", "a PDF document"),
    "gzip": (b"\x1f\x8b\x08\0\0", "a gzip file"),
    "noise": (bytes(range(128, 256)), "no slide or picture that is known"),
    "vms": (b"[Virtual Microscope Specimen]\nImageFile=a.jpg\n", "a VMS or VMU index"),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_no_slide_is_refused_in_one_sentence(
    data: Path, library: Library, name: str
):
    body, reason = BODIES[name]
    with pytest.raises(UnsupportedSlide, match=reason) as caught:
        receive(library, body)
    assert str(data) not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert files_of(data) == []


def test_a_bomb_in_a_header_is_refused_and_no_path_of_ours_is_told(data: Path, library: Library):
    body = bytearray(tiff_bytes())
    at = body.index(b"\x00\x01\x04\x00\x01\x00\x00\x00\xc8\x00")  # ImageWidth, LONG, 1 value, 200
    body[at + 8 : at + 12] = (10**6).to_bytes(4, "little")
    with pytest.raises(WsiError, match="the slide: ") as caught:
        receive(library, bytes(body))
    assert isinstance(caught.value, CorruptSlide | SlideTooLarge)
    assert str(data) not in str(caught.value)
    assert files_of(data) == []


@pytest.mark.parametrize(
    "media_type", ["application/x-www-form-urlencoded; charset=x", "multipart/form-data"]
)
def test_a_form_is_refused_before_its_first_byte_with_the_right_command(
    data: Path, library: Library, media_type: str
):
    async def untouched() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    with pytest.raises(UnsupportedMedia, match=r"curl -T slide\.svs"):
        receive(library, b"", chunks=untouched(), media_type=media_type)
    assert files_of(data) == []


@pytest.mark.parametrize(("announced", "reason"), [(-1, "ended after"), (1, "more bytes came")])
def test_a_wrong_content_length_leaves_nothing(
    data: Path, library: Library, announced: int, reason: str
):
    """One byte too many, one too few."""
    body = tiff_bytes()
    with pytest.raises(InvalidRequest, match=reason):
        receive(library, body, content_length=len(body) - announced)
    assert files_of(data) == []


def test_a_wrong_digest_leaves_nothing(data: Path, library: Library):
    body = tiff_bytes()
    with pytest.raises(ChecksumMismatch, match=hashlib.sha256(body).hexdigest()):
        receive(library, body, sha256="0" * 64)
    assert files_of(data) == []
    assert receive(library, body, sha256=hashlib.sha256(body).hexdigest().upper()).created


def test_a_client_that_goes_away_leaves_nothing(data: Path, library: Library):
    from starlette.requests import ClientDisconnect

    async def cut() -> AsyncIterator[bytes]:
        yield b"x" * (2 * BLOCK_BYTES)
        assert len(files_of(data)) == 2  # the body and its reservation
        raise ClientDisconnect

    with pytest.raises(InvalidRequest, match="client went away"):
        receive(library, b"", chunks=cut(), content_length=3 * BLOCK_BYTES)
    assert files_of(data) == []


def test_a_body_that_stalls_is_cut_off(data: Path, engine: Engine):
    library = make_library(data, engine, upload_stall_s=0.01)

    async def stalled() -> AsyncIterator[bytes]:
        yield b"II*\0"
        await asyncio.Event().wait()

    with pytest.raises(UploadStalled, match=r"nothing came for 0\.01 s"):
        receive(library, b"", chunks=stalled(), content_length=10)
    library.close()
    assert files_of(data) == []


def test_a_cancelled_request_leaves_nothing(data: Path, library: Library):
    async def cancel_in_the_middle() -> None:
        reached = asyncio.Event()

        async def endless() -> AsyncIterator[bytes]:
            yield b"x" * BLOCK_BYTES
            reached.set()
            await asyncio.Event().wait()

        receiving = asyncio.ensure_future(
            library.receive(TENANT, endless(), media_type=None, content_length=None)
        )
        await reached.wait()
        receiving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await receiving

    asyncio.run(cancel_in_the_middle())
    library.close()  # waits for its threads
    assert files_of(data) == []


def test_a_slide_over_the_limit_is_refused_before_and_during(data: Path, engine: Engine):
    library = make_library(data, engine, max_slide_bytes=1000)
    with pytest.raises(TooLarge, match="1001 bytes or more; the limit is 1000"):
        library.store(TENANT, [], content_length=1001)
    with pytest.raises(TooLarge, match="the limit is 1000"):
        library.store(TENANT, [b"x" * 600, b"x" * 600])
    assert files_of(data) == []


def test_the_quota_counts_slides_results_and_uploads_under_way(data: Path, engine: Engine):
    """Of 30,000 bytes a result has 4,000; a slide of 2 x 10,000 leaves 6,000."""
    library = make_library(data, engine, quota_bytes=30_000)
    add_result(data, engine, size_bytes=4_000)
    under_way = library.begin(TENANT, None, 20_000, None)
    with pytest.raises(QuotaExceeded, match=r"4000 bytes .* 26001; the limit is 30000"):
        library.store(TENANT, [], content_length=6_001)
    library.begin(TENANT, None, 6_000, None).abort()
    library.begin("t2", None, 30_000, None).abort()
    under_way.abort()
    assert library.bytes_of(TENANT) == 4_000


def test_a_body_of_unknown_length_meets_the_quota_on_its_way(data: Path, engine: Engine):
    library = make_library(data, engine, quota_bytes=100_000)
    with pytest.raises(QuotaExceeded, match="100001; the limit is 100000"):
        library.store(TENANT, [b"x" * 60_000, b"x" * 40_000, b"x"])
    assert files_of(data) == []


def test_more_uploads_at_once_than_allowed_wait_for_one_to_end(data: Path, engine: Engine):
    library = make_library(data, engine, max_uploads=2)
    first, second = (library.begin(TENANT, None, 10, None) for _ in range(2))
    with pytest.raises(TooManyRequests):
        library.begin(TENANT, None, 10, None)
    first.abort()
    library.begin(TENANT, None, 10, None).abort()
    second.abort()


def test_one_tenants_uploads_leave_half_of_the_places_to_others(data: Path, engine: Engine):
    library = make_library(data, engine, max_uploads=4, auth=("keys",))
    own = [library.begin(TENANT, None, 10, None) for _ in range(2)]
    with pytest.raises(TooManyRequests, match="2 uploads of yours"):
        library.begin(TENANT, None, 10, None)
    others = [library.begin("t2", None, 10, None) for _ in range(2)]
    with pytest.raises(TooManyRequests, match="too many uploads"):
        library.begin("t3", None, 10, None)
    own[0].abort()
    library.begin(TENANT, None, 10, None).abort()
    for upload in (*own, *others):
        upload.abort()


def test_a_tenant_of_several_has_one_upload_at_least(data: Path, engine: Engine):
    library = make_library(data, engine, max_uploads=1, auth=("keys",))
    library.begin(TENANT, None, 10, None).abort()


def test_equal_uploads_at_the_same_time_are_one_slide(data: Path, library: Library):
    stored = upload_at_once(library, tiff_bytes())
    assert len({one.slide.id for one in stored}) == 1
    assert [one.created for one in stored].count(True) == 1
    assert len(files_of(data)) == 1


def test_a_foreign_slide_is_as_missing_as_one_that_never_was(library: Library):
    slide = library.store(TENANT, [tiff_bytes()]).slide
    messages = set()
    for tenant, slide_id in (("t2", slide.id), (TENANT, "sld_0"), (TENANT, "../wsi.sqlite3")):
        for act in (library.get, library.path_of, library.delete):
            with pytest.raises(NotFound) as caught:
                act(tenant, slide_id)
            messages.add(str(caught.value))
    library.set_facts("t2", slide.id, {"mpp": 1})
    assert messages == {"no such slide"}
    assert library.get(TENANT, slide.id).facts is None


def test_facts_are_kept_and_pages_go_from_new_to_old(library: Library):
    ids = [library.store(TENANT, [tiff_bytes(seed=i)]).slide.id for i in range(3)]
    library.store("t2", [tiff_bytes()])
    library.set_facts(TENANT, ids[0], {"size0": [200, 130]})
    newest_first = sorted(ids, reverse=True)
    first = library.page(TENANT, limit=2)
    rest = library.page(TENANT, limit=2, before=first[-1].id)
    assert [slide.id for slide in (*first, *rest)] == newest_first
    assert library.get(TENANT, ids[0]).facts == {"size0": [200, 130]}
    library.set_facts(TENANT, ids[0], {"size0": [201, 130], "mpp": [0.5, 0.5]})
    library.set_facts(TENANT, ids[0], {"vendor": "aperio"})  # of a job that was given a resolution
    found = library.get(TENANT, ids[0]).facts
    assert found == {"size0": [201, 130], "mpp": [0.5, 0.5], "vendor": "aperio"}


def test_a_slide_that_a_job_needs_stays_until_the_job_has_ended(
    data: Path, engine: Engine, library: Library
):
    slide = library.store(TENANT, [tiff_bytes()]).slide
    done = library.store(TENANT, [tiff_bytes(seed=1)]).slide
    add_job(engine, slide.id, state="running")
    add_job(engine, done.id, state="failed")
    with pytest.raises(Conflict, match="cancel the job first"):
        library.delete(TENANT, slide.id)
    library.delete(TENANT, done.id)
    assert files_of(data) == [f"slides/{slide.id}/slide.tif"]
    with pytest.raises(NotFound):
        library.get(TENANT, done.id)


def test_who_reads_a_slide_that_is_deleted_reads_on(library: Library):
    slide = library.store(TENANT, [tiff_bytes()]).slide
    with slide.path.open("rb") as file:
        library.delete(TENANT, slide.id)
        assert file.read() == tiff_bytes()
    assert not slide.path.parent.exists()


def test_the_default_gate_stands_in_a_process_of_its_own(data: Path, engine: Engine):
    threads = threading.active_count()
    library = Library(data, engine, make_settings(data))
    assert library.store(TENANT, [tiff_bytes()]).slide.path.suffix == ".tif"
    with pytest.raises(CorruptSlide, match="the slide: "):
        library.store(TENANT, [tiff_bytes()[:-500]])
    assert len(files_of(data)) == 1
    assert threading.active_count() == threads
    assert os.listdir(data / "incoming") == []  # noqa: PTH208
