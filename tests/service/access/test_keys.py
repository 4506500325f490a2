"""API keys."""

import pytest
from sqlalchemy import Engine, select

from service.access.auth import Principal
from service.access.keys import ApiKeys
from service.database import api_keys, open_database, reading, upgrade
from service.errors import InvalidRequest, NotAuthenticated, NotFound


@pytest.fixture
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    engine = open_database(f"sqlite:///{tmp_path_factory.mktemp('db') / 'wsi.sqlite3'}")
    upgrade(engine)
    return engine


def test_a_key_opens_its_tenant(engine: Engine) -> None:
    keys = ApiKeys(engine)
    key, secret = keys.create("clinic", "viewer", ["read"])
    assert keys.principal(secret) == Principal("clinic", key.id, frozenset({"read"}))


@pytest.mark.parametrize("quota", [-1, 2**63])
def test_a_quota_that_no_disk_has_is_refused(engine: Engine, quota: int) -> None:
    with pytest.raises(InvalidRequest, match=f"quota {quota}"):
        ApiKeys(engine).create("clinic", "viewer", quota_bytes=quota)
    assert ApiKeys(engine).page() == []


def test_only_a_hash_of_the_secret_is_kept(engine: Engine) -> None:
    _, secret = ApiKeys(engine).create("clinic", "viewer")
    with reading(engine) as connection:
        row = connection.execute(select(api_keys)).mappings().one()
    assert secret.startswith("wsi_")
    assert len(secret) == 4 + 43  # 256 bits in base64
    assert all(secret[4:] not in str(value) for value in row.values())


def test_a_key_that_was_revoked_opens_nothing(engine: Engine) -> None:
    keys = ApiKeys(engine)
    key, secret = keys.create("clinic", "viewer")
    keys.revoke(key.id)
    with pytest.raises(NotAuthenticated):
        keys.principal(secret)
    with pytest.raises(NotFound):
        keys.revoke(key.id)


def test_a_key_ends_when_it_was_said_to(engine: Engine) -> None:
    now = 1000.0
    keys = ApiKeys(engine, lambda: now)
    _, secret = keys.create("clinic", "viewer", expires_in_s=60)
    now = 1059.9
    assert keys.principal(secret).tenant == "clinic"
    now = 1060.0
    with pytest.raises(NotAuthenticated):
        keys.principal(secret)


@pytest.mark.parametrize("secret", ["", "wsi_", "wsi_" + "A" * 43, "ü"])
def test_what_is_no_key_opens_nothing(engine: Engine, secret: str) -> None:
    with pytest.raises(NotAuthenticated):
        ApiKeys(engine).principal(secret)


@pytest.mark.parametrize(
    ("tenant", "name", "scopes"),
    [
        ("", "a", ["read"]),
        ("a", "x" * 201, ["read"]),
        ("a", "b\n", ["read"]),
        ("a", "b", ["root"]),
        ("a", "b", []),
    ],
)
def test_a_key_nobody_could_use_is_refused(
    engine: Engine, tenant: str, name: str, scopes: list[str]
) -> None:
    with pytest.raises(InvalidRequest):
        ApiKeys(engine).create(tenant, name, scopes)


def test_keys_are_listed_by_tenant(engine: Engine) -> None:
    keys = ApiKeys(engine)
    made = [keys.create(tenant, "k")[0] for tenant in ("a", "b", "a")]
    assert {key.id for key in keys.page("a")} == {made[0].id, made[2].id}
    assert len(keys.page()) == 3
