"""The command about this machine: doctor."""

from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.options import AsJson, Device
from service.cli.terminal import print_json, say
from service.request import DEFAULT_MODEL

__all__ = ["doctor"]


def doctor(
    throughput: Annotated[
        bool, typer.Option(help="Measure reading and the network, about 15 s.")
    ] = True,
    device: Device = "auto",
    tune: Annotated[
        bool, typer.Option("--tune", help="Measure how the model computes fastest here; keep it.")
    ] = False,
    model: Annotated[str, typer.Option("--model", "-m", help="To tune.")] = DEFAULT_MODEL,
    int8: Annotated[
        Path | None,
        typer.Option(help="Labelled tiles: with --tune, allow 8-bit integers, and what they lose."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Libraries, devices, readers, models, and what limits the speed here."""
    from service.settings import MachineSettings

    tunings = MachineSettings().tunings
    if tune:
        from service.tuning import tune as find_fastest

        heard = _hear if as_json else say
        facts = find_fastest(model, tunings, device=device, int8_data=int8, say=heard)
        if as_json:
            print_json(facts)
            return
        say(f"kept: {facts['chosen']}\nin {facts['kept']}")
        if facts["int8"]:
            say(f"kept for --precision int8: {facts['int8']}")
        return
    from service.doctor import examine

    facts = examine(throughput=throughput, device=device, tunings=tunings)
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        _say(name.replace("_", " "), value)


def _hear(line: str) -> None:
    """As JSON everything comes at the end."""


def _say(name: str, value: Any) -> None:
    if not isinstance(value, dict):
        say(f"{name}: {value}")
        return
    say(f"{name}:")
    for key, item in value.items():
        say(f"  {key.replace('_', ' ')}: {item}")
