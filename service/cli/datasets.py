"""Commands about labelled sets: report, split, patches."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.options import AsJson, Overwrite, Quiet, Reader
from service.cli.terminal import TerminalProgress, counted, print_json, say, warn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from models.datasets import Pictures
    from models.split import Split

__all__ = ["data_app"]

data_app = typer.Typer(help="Labelled sets of pictures.", no_args_is_help=True)


class LayoutName(StrEnum):
    """The keys of models.datasets.LAYOUTS, which is not imported to show help."""

    IDC = "idc"
    TWO_FOLDERS = "two-folders"
    BACH = "bach"
    BREAKHIS = "breakhis"


Folder = Annotated[Path, typer.Argument(help="Folder of the set, as downloaded.")]
Layout = Annotated[LayoutName | None, typer.Option(help="Default: look which it is.")]
Magnification = Annotated[int | None, typer.Option(help="Only 40, 100, 200 or 400 (breakhis).")]
Subtypes = Annotated[bool, typer.Option("--subtypes", help="Eight classes, not two (breakhis).")]


@data_app.command()
def report(
    folder: Folder,
    layout: Layout = None,
    split: Annotated[
        Path | None, typer.Option(help="A split file; default: the project's, for IDC tiles.")
    ] = None,
    magnification: Magnification = None,
    subtypes: Subtypes = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 where there are problems.")] = (
        False
    ),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Counts, sizes, duplicates and damaged files of a labelled set."""
    from models.datasets.report import examine

    pictures = _open(folder, layout, magnification, subtypes)
    with TerminalProgress(quiet=quiet) as progress:
        found = examine(
            pictures, _split_of(pictures, split), progress=counted("pictures", progress)
        )
    print_json(found.to_json()) if as_json else say(found.to_text())
    if strict and found.problems:
        raise typer.Exit(1)


@data_app.command()
def split(
    folder: Folder,
    out: Annotated[Path, typer.Option("--out", "-o", help="The split file to write, .json.")],
    layout: Layout = None,
    cases: Annotated[
        list[str] | None,
        typer.Option(help="PART=FILE: a published case list, for train, validation, test."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    folds: Annotated[
        int | None,
        typer.Option(min=3, help="Write so many splits for cross-validation: OUT-1.json …"),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, max=1, help="How far a class's share in a part may be off.")
    ] = 0.05,
    magnification: Magnification = None,
    subtypes: Subtypes = False,
) -> None:
    """Draws a split by patient, or takes published case lists; what leaks is refused."""
    from models.datasets.cases import read_cases
    from models.datasets.digests import with_digests
    from models.datasets.stratification import draw_folds, draw_stratified
    from models.split import require_apart, write_split
    from wsi.store.places import require_file_place

    if cases and folds is not None:
        raise typer.BadParameter("case lists make one split; leave out --folds or --cases")
    lists = _lists(cases or [])
    first = out if folds is None or not out.name else _fold_file(out, 0)
    require_file_place(first, inputs=lists.values())  # before pictures are decoded
    pictures = with_digests(_open(folder, layout, magnification, subtypes))
    if cases:
        drawn = [read_cases(lists, pictures)]
    elif folds is not None:
        drawn = list(draw_folds(pictures, folds, seed, tolerance=tolerance))
    else:
        drawn = [draw_stratified(pictures, seed, tolerance=tolerance)]
    for one in drawn:
        require_apart(pictures, one)
    for i, one in enumerate(drawn):
        path = out if folds is None else _fold_file(out, i)
        write_split(one, path)
        say(str(path))


@data_app.command()
def patches(
    slides: Annotated[Path, typer.Argument(help="Folder of slides, each A01.svs with A01.xml.")],
    out: Annotated[Path, typer.Argument(help="Folder of the patches, to train on.")],
    mpp: Annotated[float, typer.Option(help="um/px of the patches.")] = 0.42,
    patch_px: Annotated[int, typer.Option(help="Side of a patch; 512 is a tile of 215 um.")] = 512,
    coverage: Annotated[
        float, typer.Option(help="Least part of a patch that its class covers, above 0.5.")
    ] = 0.75,
    min_tissue: Annotated[float, typer.Option(help="Least tissue fraction, 0 to 1.")] = 0.5,
    mask: Annotated[str, typer.Option(help="saturation, lab or none.")] = "saturation",
    slide_mpp: Annotated[
        float | None,
        typer.Option(help="um/px of all slides' level 0; counts more than what they state."),
    ] = None,
    reader: Reader = "auto",
    mend: Annotated[
        bool,
        typer.Option("--mend", help="Mend outlines that cross themselves or leave the slide."),
    ] = False,
    upsample: Annotated[bool, typer.Option(help="Accept slides that are too coarse.")] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Cuts annotated slides into labelled patches, a slide a patient, for the recipes of BACH.

    Annotations are ImageScope's XML. The same command goes on where a stopped one was.
    """
    from service.patch_request import PatchRequest
    from service.patching import cut_patches

    request = PatchRequest(
        mpp, patch_px, coverage, min_tissue, mask, slide_mpp, reader, mend, upsample
    )
    with TerminalProgress(quiet=quiet) as progress:
        facts = cut_patches(slides, out, request, overwrite=overwrite, progress=progress)
    print_json(facts) if as_json else _tell_patches(facts)


def _tell_patches(facts: "Mapping[str, Any]") -> None:
    for name, counts in facts["slides"].items():
        say(f"{name}: " + ", ".join(f"{number:,} {what}" for what, number in counts.items()))
    total = ", ".join(f"{number:,} {what}" for what, number in facts["patches"].items())
    say(f"{facts['out']}{' (kept)' if facts['kept'] else ''}: {total}")
    if others := facts["without_annotations"]:
        say(f"without annotations, left out: {', '.join(others)}")
    for warning in facts["warnings"]:
        warn(warning)


def _open(
    folder: Path, layout: LayoutName | None, magnification: int | None, subtypes: bool
) -> "Pictures":
    from models.datasets import open_data

    name = layout.value if layout else None
    return open_data(folder, name, magnification=magnification, subtypes=subtypes)


def _split_of(pictures: "Pictures", path: Path | None) -> "Split | None":
    from models.split import read_split

    if path is None:
        return read_split() if pictures.is_idc else None
    return read_split(path)


def _fold_file(out: Path, fold: int) -> Path:
    return out.with_name(f"{out.stem}-{fold + 1}{out.suffix}")


def _lists(cases: list[str]) -> dict[str, Path]:
    lists = {}
    for case in cases:
        part, equals, path = case.partition("=")
        if not equals:
            raise typer.BadParameter(f"{case!r}: use PART=FILE, such as test=cases_test.txt")
        lists[part] = Path(path)
    return lists
