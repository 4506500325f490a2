"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "AsJson",
    "BatchSize",
    "Device",
    "DryRun",
    "MaskFrame",
    "MaskOption",
    "Model",
    "MppOption",
    "Out",
    "Overwrite",
    "Precision",
    "Quiet",
    "Reader",
    "TrustCode",
    "Tta",
]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be read, how many tiles, how long.")
]
MaskOption = Annotated[
    str,
    typer.Option(
        "--mask",
        help="saturation, lab or none (all of the slide); or your own: an image, or GeoJSON.",
    ),
]
MaskFrame = Annotated[
    str | None,
    typer.Option(
        "--mask-frame",
        help="Where the pixels of a GeoJSON mask count from: qupath (the corner of the slide's "
        "bounds) or level0; default: as the file says, else qupath.",
    ),
]
Model = Annotated[
    str, typer.Option("--model", "-m", help="A model's name, or its folder, card or weights.")
]
MppOption = Annotated[
    float | None,
    typer.Option("--mpp", help="um/px of the slide's level 0, where the file does not state it."),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for what is written.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a different result.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]
Reader = Annotated[str, typer.Option("--reader", help="auto, tiff, openslide, tiffslide or image.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N, mps.")]
Precision = Annotated[
    str,
    typer.Option(
        "--precision",
        help="Of the network: auto (32 bits, or 16 where the device has them), float32, bfloat16, "
        "float16, or int8 after `wsi doctor --tune --int8`.",
    ),
]
BatchSize = Annotated[
    int,
    typer.Option(
        "--batch-size", help="Tiles at once on a device or core, at most; changes no score."
    ),
]
Tta = Annotated[
    bool,
    typer.Option(
        "--tta",
        help="Score each tile in its 8 symmetries: the mean, and their disagreement as the channel "
        "`uncertainty`. The network takes 8 times as long.",
    ),
]
TrustCode = Annotated[
    bool,
    typer.Option("--trust-code", help="Load a TorchScript model, which runs the file's own code."),
]
