"""The command evaluate."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from service.cli.datasets import Layout, Magnification, Subtypes
from service.cli.options import AsJson, BatchSize, Device, Quiet, TrustCode, Tta
from service.cli.terminal import TerminalProgress, counted, print_json, say
from service.request import DEFAULT_MODEL

if TYPE_CHECKING:
    from models.evaluate import Assessment
    from models.evaluation.selection import Selection
    from models.evaluation.slides import SlideEvaluation

__all__ = ["evaluate"]


class HowToScore(NamedTuple):
    device: str
    trust_code: bool
    tta: bool


class Patients(StrEnum):
    ALL = "all"
    SAMPLED = "sampled"
    COMPLETE = "complete"


def evaluate(
    data: Annotated[Path, typer.Option("--data", help="Folder of labelled tiles or pictures.")],
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help=f"Several are compared with the first.  [default: {DEFAULT_MODEL}]",
        ),
    ] = None,
    part: Annotated[
        str | None, typer.Option(help="Only patients of this part of the split: test, …")
    ] = None,
    patients: Annotated[
        Patients, typer.Option(help="Complete slides and sampled patients belong apart.")
    ] = Patients.ALL,
    split: Annotated[
        Path | None,
        typer.Option(help="A split file; default: the project's for IDC tiles, else the recipes'."),
    ] = None,
    slides: Annotated[
        bool, typer.Option("--slides", help="Also put complete patients together as slides.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="Folder for an HTML report, its pictures and JSON.")
    ] = None,
    layout: Layout = None,
    magnification: Magnification = None,
    subtypes: Subtypes = False,
    device: Device = "auto",
    batch_size: BatchSize = 128,
    trust_code: TrustCode = False,
    tta: Tta = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """How good models are on labelled pictures, with patient-bootstrap 95 % intervals."""
    from models.evaluate import assess, select_pictures
    from wsi.store.places import require_folder_place

    if report is not None:
        require_folder_place(report, option="--report")
    names = model or [DEFAULT_MODEL]
    selection = select_pictures(
        data,
        part=part,
        complete={Patients.COMPLETE: True, Patients.SAMPLED: False}.get(patients),
        split=split,
        layout=layout.value if layout else None,
        magnification=magnification,
        subtypes=subtypes,
    )
    whole = _complete_patients(selection) if slides else []
    with TerminalProgress(quiet=quiet) as progress:
        found = assess(
            names,
            selection,
            device=device,
            batch_size=batch_size,
            trust_code=trust_code,
            tta=tta,
            progress=counted("tiles", progress),
        )
        called = dict(zip((one.name for one in found.models), names, strict=True))
        how = HowToScore(device, trust_code, tta)
        of_slides = _slides(called, data, whole, progress, how) if slides else []
    _tell(found, of_slides, report, as_json=as_json)


def _complete_patients(selection: "Selection") -> list[str]:
    from service.evaluation import complete_patients

    return complete_patients(selection.pictures)


def _slides(
    models: dict[str, str],
    data: Path,
    patients: list[str],
    progress: TerminalProgress,
    how: HowToScore,
) -> "list[SlideEvaluation]":
    """models: by the name in the record, what was asked for. Those with a context stage are listed
    twice: by their scores, and by what it makes of them."""
    from models.datasets import load_tiles
    from models.evaluation.slides import evaluate_context, evaluate_slides
    from service.evaluation import score_patients

    tiles = load_tiles(data)
    found: list[SlideEvaluation] = []
    for name, model in models.items():
        slides = score_patients(
            tiles,
            patients,
            model,
            device=how.device,
            trust_code=how.trust_code,
            tta=how.tta,
            progress=counted("slides", progress),
        )
        found += filter(None, [evaluate_slides(name, slides), evaluate_context(name, slides)])
    return found


def _tell(
    found: "Assessment", slides: "list[SlideEvaluation]", report: Path | None, *, as_json: bool
) -> None:
    from models.evaluation.report import write_report

    page = write_report(found, report, slides) if report else None
    if as_json:
        told = found.to_json() | ({"slides": [one.to_json() for one in slides]} if slides else {})
        print_json(told | ({"report": str(page)} if page else {}))
        return
    say("\n\n".join([found.to_text(), *(one.to_text() for one in slides)]))
    if page:
        say(f"\nreport: {page}")
