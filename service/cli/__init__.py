"""The command `wsi`: the library with a mouth. Each command imports what it needs when it runs."""

import errno
import io
import logging
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import typer

from service.cli.datasets import data_app
from service.cli.evaluation import evaluate
from service.cli.explain import explain
from service.cli.heatmaps import batch, export, heatmap
from service.cli.keeping import gc
from service.cli.keys import keys_app
from service.cli.machine import doctor
from service.cli.networks import models_app, train
from service.cli.server import serve, worker
from service.cli.slides import info, mask, phantom, tile

__all__ = ["app", "main", "run_guarded", "sentence_from_oserror"]

app = typer.Typer(
    name="wsi",
    help="Whole-slide images to IDC probability heatmaps. Research use, not a medical device.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
COMMANDS: tuple[Callable[..., None], ...] = (
    info, mask, tile, heatmap, export, batch, explain, phantom, train, evaluate, doctor, gc,
    serve, worker,
)  # fmt: skip
for command in COMMANDS:
    app.command()(command)
app.add_typer(models_app, name="models")
app.add_typer(data_app, name="data")
app.add_typer(keys_app, name="keys")


def _print_version(asked: bool) -> None:
    if asked:
        from wsi import __version__

        typer.echo(f"wsi {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Log what is done, to stderr."),
    version: bool = typer.Option(
        False, "--version", is_eager=True, callback=_print_version, help="Print the version."
    ),
) -> None:
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
    # OpenSlide, tifffile and friends explain their refusals in the error that is shown anyway
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    for name in ("httpx", "httpcore"):  # they log whole addresses, with password and signature
        logging.getLogger(name).setLevel(logging.WARNING)


GOES_ON = "stopped; the same command goes on where this one was"

STOPPED = {130: signal.SIGINT, 128 + signal.SIGTERM: signal.SIGTERM}
"""Exit codes of a command that was told to stop, as shells have them."""

EXPLAINED = {
    errno.ENOSPC: "no space left on the disk; make room and run the same command again",
    errno.EDQUOT: "the disk quota is used up; make room and run the same command again",
    errno.EACCES: "not permitted; use another --out, or ask for the right to it",
    errno.EROFS: "it is on a disk that is read-only; use another --out",
    errno.ENOTDIR: "a file is where a folder is needed; use another --out",
    errno.EEXIST: "a file is where a folder is needed; use another --out",
}


def main() -> None:
    """Runs the command that was typed."""
    run_guarded(app)


def run_guarded(work: Callable[[], object]) -> None:
    """An error that was foreseen is one sentence on stderr and exit code 1; Ctrl-C is 130."""
    from models.errors import ModelError
    from service.errors import ServiceError
    from wsi.errors import WsiError

    _print_any_name()
    try:
        with _terminable():
            work()
    except (WsiError, ModelError, ServiceError) as error:
        _leave(f"error: {error}", 1)
    except SystemExit as left:  # typer has made one of Ctrl-C
        if left.code not in STOPPED:
            raise
        _leave(GOES_ON, int(str(left.code)))
    except KeyboardInterrupt:
        _leave(GOES_ON, 130)
    except MemoryError as error:
        _leave(f"error: out of memory ({error}); use smaller tiles, or a smaller --batch-size", 1)
    except OSError as error:  # a full disk, a folder that may not be written
        _leave(f"error: {sentence_from_oserror(error)}", 1)


def _print_any_name() -> None:
    """Bytes of a file's name that are no UTF-8 are escaped, as stderr does already."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def sentence_from_oserror(error: OSError) -> str:
    """The file, where the system names it, what is wrong with it, and the way out."""
    what = EXPLAINED.get(error.errno or 0) or error.strerror or str(error)
    return f"{error.filename}: {what}" if error.filename else what


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the command as Ctrl-C does: threads, workers and bars are put away."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _leave(sentence: str, code: int) -> None:
    if code in STOPPED:  # reads and writes of zarr that end half-way are nobody's error
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        warnings.simplefilter("ignore", RuntimeWarning)
    sys.stdout.flush()
    sys.stderr.write(sentence + "\n")
    sys.exit(code)
