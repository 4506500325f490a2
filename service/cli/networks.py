"""Commands about models: models, train, evaluate."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from service.cli.options import AsJson, BatchSize, Device, Quiet, TrustCode
from service.cli.terminal import TerminalProgress, counted, print_json, say
from service.request import DEFAULT_MODEL

__all__ = ["evaluate", "models_app", "train"]

models_app = typer.Typer(
    help="The models there are, and weights from elsewhere.", no_args_is_help=True
)


class Patients(StrEnum):
    ALL = "all"
    SAMPLED = "sampled"
    COMPLETE = "complete"


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
    file: Annotated[Path, typer.Argument(help="A torchvision state dict, .pth.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Default: FILE.safetensors.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Converts weights once to safetensors, and prints the sha256 that pins them."""
    from models.checkpoint import import_state_dict

    target = out or file.with_suffix(".safetensors")
    digest = import_state_dict(file, target)
    if as_json:
        print_json({"weights": str(target), "sha256": digest})
    else:
        say(f"{target}\nsha256 {digest}")


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe's name, or a TOML file.")],
    data: Annotated[Path, typer.Option("--data", help="Folder of tiles, as downloaded.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run.")] = Path("runs"),
    weights: Annotated[
        Path | None, typer.Option(help="ImageNet weights, from `wsi models import`.")
    ] = None,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Trains a recipe; the same command goes on where a stopped one was."""
    from models.recipe import read_recipe
    from models.train import TrainProgress
    from models.train import train as run_training

    config = read_recipe(recipe)
    with TerminalProgress(quiet=quiet) as progress:
        progress.start("epochs", config.epochs)
        seen = 0

        def report(state: TrainProgress) -> None:
            nonlocal seen
            progress.advance(state.epoch - seen)  # a resumed run begins where it was
            seen = state.epoch
            if not as_json:
                say(str(state))

        card = run_training(
            config, data, out / config.name, device=device, weights=weights, on_progress=report
        )
    print_json({"model": str(card)}) if as_json else say(f"model: {card}")


def evaluate(
    data: Annotated[Path, typer.Option("--data", help="Folder of labelled tiles.")],
    model: Annotated[str, typer.Option("--model", "-m")] = DEFAULT_MODEL,
    part: Annotated[
        str | None, typer.Option(help="Only patients of this part of the split: test, …")
    ] = None,
    patients: Annotated[
        Patients, typer.Option(help="Complete slides and sampled patients belong apart.")
    ] = Patients.ALL,
    device: Device = "auto",
    batch_size: BatchSize = 128,
    trust_code: TrustCode = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """How good a model is on labelled tiles, with patient-bootstrap 95 % intervals."""
    from models.evaluate import evaluate as run_evaluation

    with TerminalProgress(quiet=quiet) as progress:
        result = run_evaluation(
            model,
            data,
            part=part,
            complete={Patients.COMPLETE: True, Patients.SAMPLED: False}.get(patients),
            device=device,
            batch_size=batch_size,
            trust_code=trust_code,
            progress=counted("tiles", progress),
        )
    print_json(result.to_json()) if as_json else say(result.to_text())
