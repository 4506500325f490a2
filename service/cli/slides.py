"""Commands about one slide, without a network: info, mask, tile, phantom."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.options import (
    AsJson,
    DryRun,
    MaskFrame,
    MaskOption,
    MppOption,
    Out,
    Overwrite,
    Quiet,
    Reader,
)
from service.cli.terminal import TerminalProgress, counted, print_json, say, warn
from service.request import DEFAULT_MIN_TISSUE

if TYPE_CHECKING:
    from wsi.slide import SlideInfo

__all__ = ["info", "mask", "phantom", "tile"]

SlideArgument = Annotated[str, typer.Argument(help="A slide's file, folder or URL.")]


def info(
    slide: SlideArgument, mpp: MppOption = None, reader: Reader = "auto", as_json: AsJson = False
) -> None:
    """What a slide's file says: size, levels, resolution and where it is from, warnings."""
    from wsi.readers import open_slide

    with open_slide(slide, mpp, reader) as opened:
        facts = info_from_slide(opened.info)
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        if name == "levels":
            for number, level in enumerate(value):
                say(f"  level {number}: {level['width']} x {level['height']} px, {level['what']}")
        elif name == "warnings":
            for warning in value:
                warn(warning)
        else:
            say(f"{name.replace('_', ' ')}: {'not stated' if value is None else value}")


def info_from_slide(info: "SlideInfo") -> dict[str, Any]:
    """SlideInfo as JSON types, in the order in which a person reads it."""
    levels = [
        {
            "width": level.size.width,
            "height": level.size.height,
            "downsample": list(level.downsample),
            "tile": list(level.tile),
            "what": f"1/{level.downsample.x:g}, tiles of {level.tile.width} x {level.tile.height}",
        }
        for level in info.levels
    ]
    return {
        "path": info.path,
        "reader": info.reader,
        "why": info.why or "asked for",
        "vendor": info.vendor,
        "width": info.size.width,
        "height": info.size.height,
        "mpp": None if info.mpp is None else list(info.mpp),
        "mpp_source": info.mpp_source,
        "objective_power": info.objective_power,
        "bounds": None if info.bounds is None else list(info.bounds),
        "background": list(info.background),
        "icc_profile": f"{len(info.icc_profile)} bytes" if info.icc_profile else None,
        "levels": levels,
        "warnings": list(info.warnings),
    }


def mask(
    slide: SlideArgument,
    out: Out = Path("masks"),
    mask: MaskOption = "saturation",
    mask_frame: MaskFrame = None,
    mpp: MppOption = None,
    reader: Reader = "auto",
    as_json: AsJson = False,
) -> None:
    """Where the tissue is: OUT/<slide name>.mask.png (0 or 255) and a picture to look at."""
    from service.tissue import MASK_MPP, find_tissue
    from wsi.export.png import save_png
    from wsi.mask import mask_image, mask_picture
    from wsi.overview import read_overview
    from wsi.readers import open_slide

    with open_slide(slide, mpp, reader) as opened:
        overview = read_overview(opened, MASK_MPP)
        tissue = find_tissue(mask, overview, opened.info, mask_frame)
        name = opened.info.name
    written = [out / f"{name}.mask.png", out / f"{name}.mask-picture.png"]
    save_png(mask_image(tissue), written[0])
    save_png(mask_picture(overview, tissue), written[1])
    facts = {
        "method": tissue.method,
        "mpp": tissue.mpp,
        "tissue_mm2": round(tissue.area_mm2, 4),
        "tissue_fraction": round(float(tissue.tissue.mean()), 6),
        "warnings": list(tissue.warnings),
        "written": [str(path) for path in written],
    }
    _report(facts, as_json)


def tile(
    slide: SlideArgument,
    out: Out = Path("tiles"),
    tile_px: Annotated[int, typer.Option(help="Side of a tile, 16 px or more.")] = 50,
    tile_mpp: Annotated[float, typer.Option(help="um/px of the tiles.")] = 4.0,
    stride_px: Annotated[int | None, typer.Option(help="Default: the tile size.")] = None,
    min_tissue: Annotated[
        float, typer.Option(help="Least tissue fraction, 0 to 1.")
    ] = DEFAULT_MIN_TISSUE,
    mask: MaskOption = "saturation",
    mask_frame: MaskFrame = None,
    mpp: MppOption = None,
    reader: Reader = "auto",
    upsample: Annotated[bool, typer.Option(help="Accept a slide that is too coarse.")] = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Cuts the tissue into OUT/<slide name>.tiles.zarr."""
    from service.tiling import TilingRequest, cut_tiles, forecast_tiles

    request = TilingRequest(
        slide, tile_px, tile_mpp, stride_px, min_tissue, mask, mpp, reader, upsample, mask_frame
    )
    if dry_run:
        _report(forecast_tiles(request), as_json)
        return
    with TerminalProgress(quiet=quiet) as progress:
        facts = cut_tiles(request, out, overwrite=overwrite, progress=progress)
    _report(facts, as_json)


def phantom(
    out: Annotated[Path, typer.Argument(help="The TIFF to write.")],
    size: Annotated[int, typer.Option(help="Side in px, to 100,000.")] = 20_000,
    mpp: Annotated[float, typer.Option(help="um/px of level 0.")] = 0.25,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    pen: Annotated[str | None, typer.Option(help="red, green, blue or black.")] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Draws an H&E-like slide with known tumour regions, and its truth beside it."""
    from wsi.phantom import draw_phantom, truth_path

    with TerminalProgress(quiet=quiet) as progress:
        truth = draw_phantom(
            out,
            size_px=size,
            mpp=mpp,
            seed=seed,
            pen=pen,
            overwrite=overwrite,
            on_progress=counted("blocks", progress),
        )
    facts = {
        "slide": str(out),
        "truth": str(truth_path(out)),
        "cancer_fraction": round(truth.cancer_fraction, 4),
    }
    _report(facts, as_json)


def _report(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        if name == "warnings":
            for warning in value:
                warn(warning)
        elif isinstance(value, list):
            say("\n".join(str(item) for item in value))
        else:
            say(f"{name.replace('_', ' ')}: {value}")
