"""The commands that run the service: serve, worker."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.settings import read_settings, require_service, require_writable
from service.cli.terminal import say

if TYPE_CHECKING:
    from service.settings import Settings

__all__ = ["serve", "worker"]

Data = Annotated[
    Path | None, typer.Option("--data", help="The service's folder; default: WSI_DATA, wsi-data.")
]


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen at; default: WSI_HOST, 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="0: a free one; default: WSI_PORT, 8000.")
    ] = None,
    data: Data = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Worker processes; default: WSI_WORKERS, 1.")
    ] = None,
) -> None:
    """Start the service: the REST API, the viewer, and its workers. Ctrl-C ends it."""
    from service.server import serve as run

    settings = _settings(host=host, port=port, data=data, workers=workers)
    require_writable(settings)
    run(settings, lambda url: say(f"{url} (research use, not a medical device)"))


def worker(
    data: Data = None,
    once: Annotated[bool, typer.Option("--once", help="Stop when no job waits.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether a worker of this host lives.")
    ] = False,
    parent: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Work jobs off the queue; as many of these as you like share one database."""
    from service.worker.process import require_living_worker, run_worker

    settings = _settings(data=data)
    if check:
        require_service(settings)
        say(f"{require_living_worker(settings)} lives")
        return
    require_writable(settings)
    run_worker(settings, once=once, parent=parent)


def _settings(**given: Any) -> "Settings":
    """As read_settings(); logs are set up by them."""
    from service.operations.logs import configure_logs

    settings = read_settings(**given)
    configure_logs(settings.log_level, settings.log_format)
    return settings
