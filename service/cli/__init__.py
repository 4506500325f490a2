"""The command `wsi`: the library with a mouth. Each command imports what it needs when it runs."""

import logging
import os
import sys
from collections.abc import Callable

import typer

from service.cli.heatmaps import batch, export, heatmap
from service.cli.machine import doctor
from service.cli.networks import evaluate, models_app, train
from service.cli.slides import info, mask, phantom, tile

__all__ = ["app", "main"]

app = typer.Typer(
    name="wsi",
    help="Whole-slide images to IDC probability heatmaps. Research use, not a medical device.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
COMMANDS: tuple[Callable[..., None], ...] = (
    info, mask, tile, heatmap, export, batch, phantom, train, evaluate, doctor,
)  # fmt: skip
for command in COMMANDS:
    app.command()(command)
app.add_typer(models_app, name="models")


@app.callback()
def _common(
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Log what is done, to stderr."),
) -> None:
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
    # OpenSlide, tifffile and friends explain their refusals in the error that is shown anyway
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)


def main() -> None:
    """Runs the command; an error that was foreseen is one sentence and exit code 1."""
    from models.errors import ModelError
    from service.errors import ServiceError
    from wsi.errors import WsiError

    try:
        app()
    except (WsiError, ModelError, ServiceError) as error:
        _leave(f"error: {error}", 1)
    except KeyboardInterrupt:
        _leave("stopped; the same command goes on where this one was", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # a full disk, a folder that may not be written
        _leave(f"error: {error.filename or 'input or output'}: {error.strerror or error}", 1)


def _leave(sentence: str, code: int) -> None:
    sys.stdout.flush()
    sys.stderr.write(sentence + "\n")
    sys.exit(code)
