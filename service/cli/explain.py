"""The command about one place of a slide: explain."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.options import (
    AsJson,
    Device,
    Model,
    MppOption,
    Overwrite,
    Reader,
    TrustCode,
)
from service.cli.terminal import print_json, say
from service.request import DEFAULT_MODEL

__all__ = ["explain"]


def explain(
    slide: Annotated[str, typer.Argument(help="A slide's file, folder or URL.")],
    at: Annotated[str, typer.Option(help="X,Y in pixels of level 0.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A PNG; default: SLIDE.X-Y.explained.png.")
    ] = None,
    model: Model = DEFAULT_MODEL,
    target: Annotated[
        str | None, typer.Option("--class", help="By default the model's positive class.")
    ] = None,
    mpp: MppOption = None,
    reader: Reader = "auto",
    device: Device = "auto",
    trust_code: TrustCode = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """What the network looked at in one tile: Grad-CAM and an occlusion map, as a picture."""
    from service.explanation import explain_place
    from wsi.slide import slide_name

    x, y = _position(at)
    picture = out or Path(f"{slide_name(slide)}.{x:g}-{y:g}.explained.png")
    found = explain_place(
        slide,
        (x, y),
        picture,
        model=model,
        target=target,
        mpp=mpp,
        reader=reader,
        device=device,
        trust_code=trust_code,
        overwrite=overwrite,
    )
    if as_json:
        print_json(found)
        return
    prob = ", ".join(f"{name} {p:.3f}" for name, p in found["prob"].items())
    say(f"{prob}\npicture: {picture}")


def _position(text: str) -> tuple[float, float]:
    from service.errors import InvalidRequest

    parts = text.split(",")
    try:
        x, y = (float(part) for part in parts)
    except ValueError:
        raise InvalidRequest(f"--at {text!r}: use two numbers, X,Y in pixels of level 0") from None
    return x, y
