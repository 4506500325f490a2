"""Commands about what is kept: gc."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from service.cli.options import AsJson
from service.cli.settings import read_settings, require_service
from service.cli.terminal import print_json, say

__all__ = ["gc"]

NAMES = {"result_rows": "rows of deleted results", "size_bytes": "bytes"}


def gc(
    data: Annotated[
        Path | None, typer.Option(help="Data folder of the service. Default: WSI_DATA.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    as_json: AsJson = False,
) -> None:
    """Deletes what the service keeps no longer, and what a crash left. Safe while it runs."""
    from service.database import open_database, upgrade
    from service.storage.retention import collect_garbage

    settings = read_settings(data=data)
    require_service(settings)
    engine = open_database(settings.database)
    try:
        upgrade(engine)
        facts = asdict(collect_garbage(settings, engine, dry_run=dry_run))
    finally:
        engine.dispose()
    if as_json:
        print_json({"dry_run": dry_run, **facts})
        return
    for name, value in facts.items():
        count = value if isinstance(value, int) else len(value)
        say(f"{NAMES.get(name, name.replace('_', ' '))}: {count}")
