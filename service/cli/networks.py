"""Commands about models: models, train."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.options import AsJson, Device, Quiet
from service.cli.terminal import TerminalProgress, counted, print_json, say
from service.request import DEFAULT_MODEL

if TYPE_CHECKING:
    from models.train import TrainProgress

__all__ = ["models_app", "train"]

models_app = typer.Typer(
    help="The models there are, and weights from elsewhere.", no_args_is_help=True
)


@models_app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """The models that come with this program."""
    from models.registry import list_models as shipped

    cards = shipped()
    if as_json:
        print_json([card.to_json() for card in cards])
        return
    for card in cards:
        say(
            f"{card.name}  {card.architecture}, {card.tile_px} px at {card.mpp:g} um/px: "
            f"{', '.join(card.classes)}"
        )


@models_app.command("show")
def show_model(
    model: Annotated[str, typer.Argument()] = DEFAULT_MODEL,
    as_json: Annotated[bool, typer.Option("--json", hidden=True)] = True,  # it is always JSON
) -> None:
    """A model's card, as JSON."""
    from models.registry import resolve_model

    print_json(resolve_model(model)[0].to_json())


@models_app.command("import")
def import_weights(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE|NAME",
            help="PyTorch weights, .pth; or an architecture, whose ImageNet file lies here.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Default: FILE.safetensors; torchvision's ImageNet weights where `wsi train` "
            "looks for them.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Converts weights once to safetensors, and prints the sha256 that pins them."""
    from models.imagenet import import_weights as run_import

    target, digest = run_import(source, out)
    if as_json:
        print_json({"weights": str(target), "sha256": digest})
    else:
        say(f"{target}\nsha256 {digest}")


@models_app.command("context")
def add_context(
    model: Annotated[str, typer.Argument()] = DEFAULT_MODEL,
    *,
    data: Annotated[
        Path, typer.Option("--data", help="Folder of IDC tiles, complete slides in it.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the model with it.")],
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Fits the stage that looks at a tile's neighbours, on the scores of complete slides."""
    from models.training.context import add_context as run_fit

    with TerminalProgress(quiet=quiet) as progress:
        card = run_fit(model, data, out, device=device, progress=counted("tiles", progress))
    print_json({"model": str(card)}) if as_json else say(f"model: {card}")


@models_app.command("appearance")
def add_appearance(
    model: Annotated[str, typer.Argument()] = DEFAULT_MODEL,
    *,
    data: Annotated[Path, typer.Option("--data", help="The folder that it was trained on.")],
    recipe: Annotated[
        str | None, typer.Option(help="That it was trained by; default: of the model's name.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Writes into a model's card what its training tiles look like, for warnings of unlike slides.

    Models that `wsi train` makes have it already. The weights stay as they are.
    """
    from models.training.looks import add_appearance as run_add

    card = run_add(model, data, recipe)
    print_json({"model": str(card)}) if as_json else say(f"model: {card}")


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe's name, or a TOML file.")],
    data: Annotated[Path, typer.Option("--data", help="Folder of pictures, as downloaded.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the runs.")] = Path("runs"),
    weights: Annotated[
        Path | None, typer.Option(help="Weights to start from, of `wsi models import`.")
    ] = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Two epochs of a few tiles: does everything run?")
    ] = False,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Another value than the recipe's."),
    ] = None,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Trains a recipe; the same command goes on where a stopped one was.

    On several GPUs: torchrun --nproc-per-node N --no-python wsi train RECIPE --data FOLDER
    """
    from models.recipe import parse_changes, read_recipe, shrunk
    from models.train import train as run_training
    from models.training.parallel import is_first_process

    config = read_recipe(recipe, parse_changes(changes or []))
    config = shrunk(config) if smoke else config
    is_first = is_first_process()
    with TerminalProgress(quiet=quiet or not is_first) as progress:
        card = run_training(
            config,
            data,
            out / config.name,
            device=device,
            weights=weights,
            stores=out / "decoded",
            on_progress=_epochs_reported(progress, aloud=not as_json),
        )
    if is_first:
        print_json({"model": str(card)}) if as_json else say(f"model: {card}")


def _epochs_reported(
    progress: TerminalProgress, *, aloud: bool
) -> Callable[["TrainProgress"], None]:
    """A bar for each stage, and a line for each epoch."""
    stage, seen = "", 0

    def report(state: "TrainProgress") -> None:
        nonlocal stage, seen
        if state.stage != stage:
            stage, seen = state.stage, 0
            progress.start(stage, state.epochs)
        progress.advance(state.epoch - seen)  # a resumed run begins where it was
        seen = state.epoch
        if aloud:
            say(str(state))

    return report
