"""The command about this machine: doctor."""

from typing import Annotated, Any

import typer

from service.cli.options import AsJson, Device
from service.cli.terminal import print_json, say

__all__ = ["doctor"]


def doctor(
    throughput: Annotated[
        bool, typer.Option(help="Measure reading and the network, about 15 s.")
    ] = True,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Libraries, devices, readers, models, and what limits the speed here."""
    from service.doctor import examine

    facts = examine(throughput=throughput, device=device)
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        _say(name.replace("_", " "), value)


def _say(name: str, value: Any) -> None:
    if not isinstance(value, dict):
        say(f"{name}: {value}")
        return
    say(f"{name}:")
    for key, item in value.items():
        say(f"  {key.replace('_', ' ')}: {item}")
