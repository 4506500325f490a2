"""Whether this process can do its work now, and if not, why."""

import os
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from service.database import reading
from service.schemas import Check

if TYPE_CHECKING:
    from service.deps import Service

__all__ = ["CHECKS", "check_all"]


def check_all(service: "Service") -> list[Check]:
    """Never raises: what cannot be checked is not well."""
    return [_checked(name, check, service) for name, check in CHECKS.items()]


def check_database(service: "Service") -> str | None:
    with reading(service.engine) as connection:
        connection.execute(select(1)).one()
    return None


def check_folder(service: "Service") -> str | None:
    return None if os.access(service.settings.data, os.W_OK | os.X_OK) else "it cannot be written"


def check_disk(service: "Service") -> str | None:
    free, floor = shutil.disk_usage(service.settings.data).free, service.settings.disk_floor_bytes
    return None if free > floor else f"{free >> 20} MiB are free; {floor >> 20} MiB have to be"


def check_worker(service: "Service") -> str | None:
    if not service.queue.workers(service.settings.lease_s):
        return f"none was seen in the last {service.settings.lease_s:g} s"
    return None


def check_sandbox(service: "Service") -> str | None:
    """A worker that must not start without confinement does not; this sees one that did."""
    if service.settings.sandbox != "required":
        return None
    facts = [seen.facts.get("sandbox") for seen in service.queue.workers(service.settings.lease_s)]
    wanted = [fact.get("wanted") for fact in facts if isinstance(fact, dict)]
    if len(wanted) < len(facts) or set(wanted) - {"required"}:
        return "a worker reads slides without the confinement that WSI_SANDBOX=required asks for"
    return None


def check_shutdown(service: "Service") -> str | None:
    return "the process shuts down" if service.watcher.is_closed else None


CHECKS: dict[str, Callable[["Service"], str | None]] = {
    "process": check_shutdown,
    "database": check_database,
    "data folder": check_folder,
    "disk": check_disk,
    "worker": check_worker,
    "sandbox": check_sandbox,
}
"""Name to a function that says what is wrong; None: nothing."""


def _checked(name: str, check: Callable[["Service"], str | None], service: "Service") -> Check:
    try:
        wrong = check(service)
    except (SQLAlchemyError, OSError):
        wrong = "it does not answer"
    return Check(name=name, ok=wrong is None, detail=wrong or "ok")
