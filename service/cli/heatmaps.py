"""Commands that make heatmaps: heatmap, export, batch."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.options import (
    AsJson,
    BatchSize,
    Device,
    DryRun,
    MaskFrame,
    MaskOption,
    Model,
    MppOption,
    Out,
    Overwrite,
    Precision,
    Quiet,
    Reader,
    TrustCode,
    Tta,
)
from service.cli.terminal import TerminalProgress, print_json, say, warn
from service.request import (
    DEFAULT_FORMATS,
    DEFAULT_MIN_TISSUE,
    DEFAULT_MODEL,
    HeatmapRequest,
)

if TYPE_CHECKING:
    from service.pipeline import HeatmapResult

__all__ = ["batch", "export", "heatmap"]

Stride = Annotated[
    int | None,
    typer.Option("--stride-px", help="At the model's resolution; default: no overlap."),
]
Window = Annotated[
    str, typer.Option("--window", help="Weights of overlapping tiles: uniform, gaussian, hann.")
]
MinTissue = Annotated[float, typer.Option("--min-tissue", help="Least tissue fraction of a tile.")]
Upsample = Annotated[
    bool, typer.Option("--upsample", help="Accept a slide that is coarser than the model needs.")
]
Icc = Annotated[bool, typer.Option("--icc", help="Convert colours to sRGB by the slide's profile.")]
Formats = Annotated[
    list[str] | None,
    typer.Option("--format", "-f", help="Further outputs: ome-tiff, hdf5; repeat it."),
]


def heatmap(
    slide: Annotated[str, typer.Argument(help="A slide's file, folder or URL.")],
    out: Out = Path("heatmaps"),
    model: Model = DEFAULT_MODEL,
    mpp: MppOption = None,
    stride_px: Stride = None,
    window: Window = "uniform",
    mask: MaskOption = "saturation",
    mask_frame: MaskFrame = None,
    min_tissue: MinTissue = DEFAULT_MIN_TISSUE,
    upsample: Upsample = False,
    icc: Icc = False,
    tta: Tta = False,
    formats: Formats = None,
    device: Device = "auto",
    batch_size: BatchSize = 128,
    precision: Precision = "auto",
    reader: Reader = "auto",
    trust_code: TrustCode = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """One slide to OUT/<slide name>/: data, pictures, files for other tools."""
    request = HeatmapRequest(
        slide=slide,
        model=model,
        mpp=mpp,
        reader=reader,
        stride_px=stride_px,
        window=window,
        mask=mask,
        mask_frame=mask_frame,
        min_tissue=min_tissue,
        upsample=upsample,
        icc=icc,
        tta=tta,
        formats=with_defaults(formats),
        batch_size=batch_size,
        device=device,
        precision=precision,
        trust_code=trust_code,
    )
    if dry_run:
        from service.forecast import forecast
        from service.settings import MachineSettings

        _print_forecast(forecast(request, tunings=MachineSettings().tunings), as_json)
        return
    with TerminalProgress(quiet=quiet) as progress:
        from service.pipeline import run_request
        from service.settings import MachineSettings

        tunings = MachineSettings().tunings
        result = run_request(request, out, overwrite=overwrite, progress=progress, tunings=tunings)
    _print_result(result, as_json)


def export(
    result: Annotated[Path, typer.Argument(help="A folder that `wsi heatmap` wrote.")],
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", "-f", help="Repeat it; without it the known formats are listed."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Default: the folder.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Of regions; default: the model's.")
    ] = None,
    frame: Annotated[
        str | None,
        typer.Option(help="Of GeoJSON: qupath (default; cropped to the slide's bounds), level0."),
    ] = None,
    ngff: Annotated[
        str | None, typer.Option(help="Version of OME-NGFF: 0.5 (default) or 0.4.")
    ] = None,
    slide: Annotated[
        str | None, typer.Option(help="Where the slide is now; pictures need it.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Writes a result in further formats, without scoring anything again."""
    from service.exports import export_result, require_result
    from service.outputs import OUTPUTS

    if not formats:
        require_result(result)
        files = {name: output.file for name, output in OUTPUTS.items()}
        if as_json:
            print_json(files)
            return
        for name, file in files.items():
            say(f"{name:<12} {file}")
        return
    written = export_result(
        result,
        formats,
        out or result,
        slide=slide,
        overwrite=overwrite,
        threshold=threshold,
        frame=frame,
        ngff=ngff,
    )
    paths = [str(path) for path in written]
    print_json({"written": paths}) if as_json else say("\n".join(paths))


def batch(
    slides: Annotated[Path, typer.Argument(help="A folder, or a CSV with path,mpp,mask.")],
    out: Out = Path("heatmaps"),
    model: Model = DEFAULT_MODEL,
    mpp: MppOption = None,
    stride_px: Stride = None,
    window: Window = "uniform",
    mask: MaskOption = "saturation",
    mask_frame: MaskFrame = None,
    min_tissue: MinTissue = DEFAULT_MIN_TISSUE,
    upsample: Upsample = False,
    icc: Icc = False,
    tta: Tta = False,
    formats: Formats = None,
    device: Device = "auto",
    batch_size: BatchSize = 128,
    precision: Precision = "auto",
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask cluster; default: one on this machine.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Of the local cluster; default: one a GPU, else one.")
    ] = None,
    reader: Reader = "auto",
    trust_code: TrustCode = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Every slide below a folder, or of a list: a result folder each, and OUT/summary.csv."""
    from service.batch import run_batch
    from service.batch_list import list_slides
    from service.outputs import require_outputs

    template = HeatmapRequest(
        slide="", model=model, mpp=mpp, reader=reader, stride_px=stride_px, window=window,
        mask=mask, mask_frame=mask_frame, min_tissue=min_tissue, upsample=upsample, icc=icc,
        tta=tta, formats=with_defaults(formats), batch_size=batch_size, device=device,
        precision=precision, trust_code=trust_code,
    )  # fmt: skip
    require_outputs(template.formats)
    tasks = list_slides(slides, out, template)
    if dry_run:
        from service.forecast import forecast_batch
        from service.settings import MachineSettings

        tunings = MachineSettings().tunings
        asked = (task.request for task in tasks)
        _print_batch_forecast(forecast_batch(asked, tunings=tunings), as_json)
        return
    with TerminalProgress(quiet=quiet) as progress:
        outcome = run_batch(
            tasks, out,
            scheduler=scheduler, workers=workers, overwrite=overwrite, progress=progress,
        )  # fmt: skip
    print_json(outcome.to_json()) if as_json else say(outcome.to_text())
    if outcome.failed:
        raise typer.Exit(1)


def with_defaults(formats: list[str] | None) -> tuple[str, ...]:
    """The formats that every result has, and those asked for."""
    return tuple(dict.fromkeys((*DEFAULT_FORMATS, *(formats or ()))))


def _print_forecast(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        say(f"{name.replace('_', ' ')}: {value}")


def _print_batch_forecast(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(facts)
        return
    for slide in facts["slides"]:
        fails = f"would fail: {slide.get('reason')}"
        costs = f"{slide.get('tiles')} tiles, {slide.get('seconds_at_most')} s at most"
        say(f"{slide['slide']}: {fails if 'reason' in slide else costs}")
    total = f"{facts['tiles']} tiles of {len(facts['slides'])} slides"
    say(f"{total}, {facts['seconds_at_most']} s at most; {facts['failing']} would fail")


def _print_result(result: "HeatmapResult", as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "folder": str(result.folder),
                "kept": result.kept,
                "manifest": result.manifest,
                "run": result.run,
            }
        )
        return
    for warning in result.manifest.get("warnings", []):
        warn(warning)
    say(sentence(result))


def sentence(result: "HeatmapResult") -> str:
    """What became of a slide, for a person."""
    manifest = result.manifest
    if manifest["outcome"] == "no-tissue":
        return f"{result.folder}: no tissue found; the heatmap is empty"
    summary = manifest["summary"]
    kept = " (an equal result was there)" if result.kept else ""
    return (
        f"{result.folder}{kept}: {manifest['tiles']} tiles, "
        f"{summary['positive_tissue_mm2']:.2f} of {summary['scored_tissue_mm2']:.2f} mm2 tissue "
        f"at or above {summary['threshold']:g}{_doubt(summary)}"
    )


def _doubt(summary: dict[str, Any]) -> str:
    fraction = summary.get("uncertain", {}).get("tissue_fraction")
    return "" if fraction is None else f"; {fraction:.0%} of the tissue is uncertain"
