"""Commands about API keys: create, list, revoke."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.options import AsJson
from service.cli.settings import read_settings, require_service, require_writable
from service.cli.terminal import print_json, say

if TYPE_CHECKING:
    from service.access.keys import ApiKey, ApiKeys

__all__ = ["keys_app"]

keys_app = typer.Typer(help="API keys of the service.", no_args_is_help=True)

Data = Annotated[
    Path | None, typer.Option("--data", help="The service's folder; default: WSI_DATA, wsi-data.")
]


@keys_app.command("create")
def create(
    tenant: Annotated[str, typer.Option(help="Whose slides and results the key opens.")],
    name: Annotated[str, typer.Option(help="What the key is for, to know it by.")] = "key",
    read_only: Annotated[bool, typer.Option("--read-only", help="It may not write.")] = False,
    days: Annotated[float | None, typer.Option(min=0, help="How long it is in force.")] = None,
    quota: Annotated[
        str | None,
        typer.Option(help="The most that its slides and results may take: 500MB, 2GiB, bytes."),
    ] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Makes a key and prints it, once: only a hash is kept."""
    expires_in_s = None if days is None else days * 86400
    quota_bytes = None if quota is None else _bytes_from_text(quota)
    scopes = ("read",) if read_only else ("read", "write")
    keys = _open_keys(data, is_made=True)
    key, secret = keys.create(tenant, name, scopes, expires_in_s, quota_bytes)
    print_json(_facts(key) | {"key": secret}) if as_json else say(secret)


@keys_app.command("list")
def list_keys(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """The keys there are, without their secrets."""
    found = _open_keys(data).page(tenant)
    if as_json:
        print_json([_facts(key) for key in found])
        return
    for key in found:
        facts = _facts(key)
        ends = "revoked" if facts["revoked_at"] else facts["expires_at"] or "no end"
        say(f"{key.id}  {key.tenant}  {key.name}  {'+'.join(key.scopes)}  {ends}{_quota(key)}")


@keys_app.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(help="The id that `wsi keys list` shows.")],
    data: Data = None,
) -> None:
    """Ends a key; a running service refuses it within seven seconds."""
    _open_keys(data).revoke(key_id)
    say(f"{key_id}: revoked")


def _open_keys(data: Path | None, *, is_made: bool = False) -> "ApiKeys":
    """is_made: a first key may come before the service."""
    from service.access.keys import ApiKeys
    from service.database import open_database, upgrade

    settings = read_settings(data=data)
    if is_made:
        require_writable(settings)
        settings.data.mkdir(parents=True, exist_ok=True)
    else:
        require_service(settings)
    engine = open_database(settings.database)
    upgrade(engine)
    return ApiKeys(engine)


def _bytes_from_text(text: str) -> int:
    from pydantic import ByteSize, TypeAdapter, ValidationError

    from service.errors import InvalidRequest

    try:
        return int(TypeAdapter(ByteSize).validate_python(text))
    except ValidationError as error:
        raise InvalidRequest(f"quota {text!r}: use a size like 500MB or 2GiB") from error


def _facts(key: "ApiKey") -> dict[str, Any]:
    times = ("created_at", "expires_at", "revoked_at")
    return {**vars(key), **{name: _rfc3339(getattr(key, name)) for name in times}}


def _quota(key: "ApiKey") -> str:
    return "" if key.quota_bytes is None else f"  at most {key.quota_bytes} bytes"


def _rfc3339(at: float | None) -> str | None:
    """A row that another program or an older one wrote may hold any number."""
    try:
        return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return f"no date ({at:g})"
