"""A tenant has a share of the disk, and so may each of its keys."""

from pathlib import Path

import pytest
from sqlalchemy import Engine

from service.access.auth import Owner
from service.access.keys import ApiKeys
from service.errors import QuotaExceeded
from service.storage.library import Library
from tests.service.shelving import TENANT, add_result, make_library, tiff_bytes

SLIDE = tiff_bytes(seed=1)
OTHER = tiff_bytes(seed=2)
BYTES = len(SLIDE)


def make_key(engine: Engine, quota_bytes: int | None = None) -> str:
    return ApiKeys(engine).create(TENANT, "key", quota_bytes=quota_bytes)[0].id


def store(library: Library, slide: bytes, key_id: str | None) -> None:
    library.store(TENANT, [slide], content_length=len(slide), key_id=key_id)


def test_a_key_that_used_up_its_quota_stores_nothing_more(data: Path, engine: Engine):
    library, key = make_library(data, engine), make_key(engine, BYTES)
    store(library, SLIDE, key)
    with pytest.raises(QuotaExceeded, match=f"this key.* {BYTES} bytes .* is {BYTES}:"):
        store(library, OTHER, key)


def test_other_keys_of_the_tenant_go_on(data: Path, engine: Engine):
    library, small, free = make_library(data, engine), make_key(engine, BYTES), make_key(engine)
    store(library, SLIDE, small)
    store(library, OTHER, free)
    assert library.quota.used(Owner(TENANT, small)) == BYTES
    assert library.quota.used(Owner(TENANT)) == BYTES + len(OTHER)


def test_the_tenants_limit_binds_keys_without_one(data: Path, engine: Engine):
    library = make_library(data, engine, quota_bytes=BYTES)
    store(library, SLIDE, make_key(engine))
    with pytest.raises(QuotaExceeded, match="your slides"):
        store(library, OTHER, make_key(engine, 10 * BYTES))


def test_what_the_tenant_had_already_costs_a_key_nothing(data: Path, engine: Engine):
    library, first, second = make_library(data, engine), make_key(engine), make_key(engine, BYTES)
    store(library, SLIDE, first)
    store(library, SLIDE, second)
    assert library.quota.used(Owner(TENANT, second)) == 0


def test_uploads_under_way_count_to_their_key(data: Path, engine: Engine):
    library, key = make_library(data, engine), make_key(engine, 1000)
    under_way = library.begin(TENANT, None, 700, None, key)
    with pytest.raises(QuotaExceeded, match=r"0 bytes .* 1001; the limit is 1000"):
        library.begin(TENANT, None, 301, None, key)
    library.begin(TENANT, None, 300, None, key).abort()
    under_way.abort()


def test_results_count_to_the_key_that_asked(data: Path, engine: Engine):
    library, key = make_library(data, engine), make_key(engine, 1000)
    add_result(data, engine, size_bytes=999, key_id=key)
    library.quota.require_some(Owner(TENANT, key))
    add_result(data, engine, size_bytes=1, key_id=key)
    with pytest.raises(QuotaExceeded, match="this key's slides and results have 1000 bytes"):
        library.quota.require_some(Owner(TENANT, key))
    library.quota.require_some(Owner(TENANT))


def test_a_deleted_slide_gives_its_room_back(data: Path, engine: Engine):
    library, key = make_library(data, engine), make_key(engine, BYTES + 1)
    stored = library.store(TENANT, [SLIDE], key_id=key)
    library.delete(TENANT, stored.slide.id)
    store(library, SLIDE, key)
