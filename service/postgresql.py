"""PostgreSQL: no program that falls silent makes the others wait for long."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import URL, Connection, Engine, ExceptionContext, create_engine, event, text
from sqlalchemy.exc import DBAPIError, OperationalError

from service.errors import InvalidRequest

__all__ = ["lift_limits", "open_postgresql"]

LOCK_S = 30  # how long a statement waits for another's lock
SILENT_S = 60  # how long a transaction may do nothing, and hold its locks
TO_POSTGRESQL: Mapping[str, str | int] = {
    "application_name": "wsi",
    "connect_timeout": 10,
    "keepalives": 1,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # ms; Linux itself gives up after a quarter of an hour
}
"""libpq's parameters; those that the URL gives count instead."""

LIMITS = ("lock_timeout", "idle_in_transaction_session_timeout")


def open_postgresql(url: URL) -> Engine:
    """An engine whose connections have these limits. Raises InvalidRequest: no driver."""
    try:
        engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            connect_args={k: v for k, v in TO_POSTGRESQL.items() if k not in url.query},
            pool_pre_ping=True,
            pool_size=8,
            max_overflow=56,
        )
    except ImportError as error:
        raise InvalidRequest(
            "PostgreSQL needs psycopg: pip install wsi-heatmap[postgresql]"
        ) from error
    event.listen(engine, "connect", _limiting(str(url.query.get("options", ""))))
    event.listen(engine, "handle_error", _as_lost)
    return engine


def lift_limits(connection: Connection) -> None:
    """For this transaction."""
    for limit in LIMITS:
        connection.execute(text(f"SET LOCAL {limit} = 0"))


def _limiting(options: str) -> Callable[[Any, object], None]:
    """Sets the limits of a new connection, less those among the URL's `options`. Not by `options`
    of our own: PgBouncer refuses them."""
    limits = dict(zip(LIMITS, (LOCK_S, SILENT_S), strict=True))
    given = set(re.findall(r"\w+", options))
    ours = {name: 1000 * seconds for name, seconds in limits.items() if name not in given}
    statements = "; ".join(f"SET {name} = {limit_ms:.0f}" for name, limit_ms in ours.items())

    def limit(connection: Any, _record: object) -> None:
        connection.execute(statements)
        connection.commit()

    return limit


def _as_lost(context: ExceptionContext) -> OperationalError | None:
    """The driver takes the end of a silent transaction for an error inside PostgreSQL."""
    known, cause = context.sqlalchemy_exception, context.original_exception
    if not context.is_disconnect or isinstance(known, OperationalError):
        return None
    if not isinstance(known, DBAPIError):
        return None
    return OperationalError(known.statement, known.params, cause, connection_invalidated=True)
