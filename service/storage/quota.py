"""Whose share of the disk is used up: a tenant's, or that of one of its keys."""

from collections.abc import Iterator

from sqlalchemy import Connection, Engine, func, select

from service.access.auth import Owner
from service.database import api_keys, reading, results, slides
from service.errors import QuotaExceeded
from service.storage.reservation import Held

__all__ = ["Quota"]


class Quota:
    """Counts slides, less those that stay in place, and results. A key's are those that came with
    it first: bytes and work that the tenant had already cost nothing again."""

    def __init__(self, engine: Engine, tenant_bytes: int | None) -> None:
        """`tenant_bytes`: the most that a tenant may keep; keys have their own in the database."""
        self._engine, self._tenant_bytes = engine, tenant_bytes

    def used(self, owner: Owner) -> int:
        """Bytes of a key's where the owner has one, else of all its tenant's."""
        with reading(self._engine) as connection:
            return _used(connection, owner)

    def require(self, owner: Owner, held: Held) -> None:
        """Raises QuotaExceeded unless what is under way fits beside what is there.

        What moves between the two counts twice, for a moment, and never not at all: `held` was
        counted first.
        """
        for whose, mine, limit in self._limits(owner):
            used = self.used(mine)
            under_way = held.key if mine.key_id else held.tenant
            if used + under_way > limit:
                raise QuotaExceeded(
                    f"{whose} slides and results have {used} bytes and uploads and jobs under way, "
                    f"this one included, {under_way}; the limit is {limit}: delete some"
                )

    def require_some(self, owner: Owner) -> None:
        """Raises QuotaExceeded where nothing is left: then no new work is begun."""
        for whose, mine, limit in self._limits(owner):
            used = self.used(mine)
            if used >= limit:
                raise QuotaExceeded(
                    f"{whose} slides and results have {used} bytes; the limit is {limit}: "
                    "delete some"
                )

    def _limits(self, owner: Owner) -> Iterator[tuple[str, Owner, int]]:
        if self._tenant_bytes is not None:
            yield "your", Owner(owner.tenant), self._tenant_bytes
        if owner.key_id is None:
            return
        wanted = select(api_keys.c.quota_bytes).where(api_keys.c.id == owner.key_id)
        with reading(self._engine) as connection:
            limit = connection.scalar(wanted)
        if limit is not None:
            yield "this key's", owner, limit


def _used(connection: Connection, owner: Owner) -> int:
    total = 0
    for table, kept in (
        (slides, slides.c.kind != "path"),
        (results, results.c.deleted_at.is_(None)),
    ):
        query = select(func.coalesce(func.sum(table.c.size_bytes), 0)).where(
            table.c.tenant == owner.tenant, kept
        )
        if owner.key_id is not None:
            query = query.where(table.c.key_id == owner.key_id)
        total += int(connection.execute(query).scalar_one())
    return total
