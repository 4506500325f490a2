"""API keys: made once, shown once, kept as a hash."""

import hashlib
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sqlalchemy import Engine, select

from service.access.auth import Principal
from service.database import api_keys, reading
from service.errors import InvalidRequest, NotAuthenticated, NotFound
from service.ids import new_id

__all__ = ["PREFIX", "SCOPES", "ApiKey", "ApiKeys"]

PREFIX = "wsi_"
"""Of every key, so that people and scanners for leaked secrets know one when they see it."""

SCOPES = ("read", "write")

LONGEST_S = 36_500 * 86400  # a hundred years: what comes after the year 9999 is no date


@dataclass(frozen=True)
class ApiKey:
    """What is kept of a key: enough to name it and to end it, not to use it."""

    id: str
    tenant: str
    name: str
    scopes: tuple[str, ...]
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    quota_bytes: int | None  # of slides and results that came by it; None: its tenant's limit only


class ApiKeys:
    """Keys in the database. A key is 256 random bits, so that one SHA-256 is all the hashing it
    needs: there is nothing to guess, and a slow hash would be a way to keep the service busy."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._clock = clock

    def create(
        self,
        tenant: str,
        name: str,
        scopes: Iterable[str] = SCOPES,
        expires_in_s: float | None = None,
        quota_bytes: int | None = None,
    ) -> tuple[ApiKey, str]:
        """A key and its secret, which is nowhere afterwards. Raises InvalidRequest."""
        chosen = tuple(scope for scope in SCOPES if scope in set(scopes))
        _check(tenant, name, scopes)
        if expires_in_s is not None and not 0 <= expires_in_s <= LONGEST_S:  # nor NaN
            raise InvalidRequest(
                f"{expires_in_s / 86400:g} days: use 0 to {LONGEST_S // 86400}, or none for a key "
                "without an end"
            )
        if quota_bytes is not None and not 0 <= quota_bytes < 2**63:
            raise InvalidRequest(f"quota {quota_bytes}: use bytes from 0 to {2**63 - 1}")
        now = self._clock()
        key = ApiKey(
            id=new_id("key", now),
            tenant=tenant,
            name=name,
            scopes=chosen,
            created_at=now,
            expires_at=None if expires_in_s is None else now + expires_in_s,
            revoked_at=None,
            quota_bytes=quota_bytes,
        )
        secret = PREFIX + secrets.token_urlsafe(32)
        row = {**vars(key), "scopes": list(chosen), "sha256": _sha256(secret)}
        with self._engine.begin() as connection:
            connection.execute(api_keys.insert().values(row))
        return key, secret

    def revoke(self, key_id: str) -> None:
        """The key opens nothing from now on. Raises NotFound."""
        change = api_keys.update().where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
        with self._engine.begin() as connection:
            if connection.execute(change.values(revoked_at=self._clock())).rowcount == 0:
                raise NotFound(f"key {key_id}: there is no such key that is in force")

    def page(self, tenant: str | None = None) -> list[ApiKey]:
        """All keys, or a tenant's, the oldest first."""
        wanted = select(api_keys).order_by(api_keys.c.id)
        if tenant is not None:
            wanted = wanted.where(api_keys.c.tenant == tenant)
        with reading(self._engine) as connection:
            return [_key(row) for row in connection.execute(wanted).mappings()]

    def principal(self, secret: str) -> Principal:
        """Whose key it is. Raises NotAuthenticated, with one sentence for every cause."""
        wanted = select(api_keys).where(api_keys.c.sha256 == _sha256(secret))
        with reading(self._engine) as connection:
            row = connection.execute(wanted).mappings().first()
        if row is None or not _in_force(_key(row), self._clock()):
            raise NotAuthenticated("the API key is unknown, revoked or expired")
        return Principal(row["tenant"], row["id"], frozenset(row["scopes"]))


def _check(tenant: str, name: str, scopes: Iterable[str]) -> None:
    for what, value in (("tenant", tenant), ("name", name)):
        if not 1 <= len(value) <= 200 or not value.isprintable():
            raise InvalidRequest(f"{what} {value!r}: use 1 to 200 printable characters")
    unknown = set(scopes) - set(SCOPES)
    if unknown or not set(scopes):
        raise InvalidRequest(f"scopes {sorted(scopes)}: use {' or '.join(SCOPES)}, or both")


def _in_force(key: ApiKey, now: float) -> bool:
    return key.revoked_at is None and (key.expires_at is None or now < key.expires_at)


def _key(row: object) -> ApiKey:
    fields = dict(row)  # type: ignore[call-overload]
    fields.pop("sha256")
    return ApiKey(**{**fields, "scopes": tuple(fields["scopes"])})


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
