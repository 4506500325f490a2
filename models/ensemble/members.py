"""The members of an ensemble, as its card lists them. No torch, no scikit-learn."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from models.errors import CardError

__all__ = ["CLASSICAL", "ENSEMBLE", "Member", "check_members", "members_from_json"]

ENSEMBLE = "ensemble"
"""What a card of several members names as its architecture."""

CLASSICAL = ("random-forest", "gradient-boosting", "svm")
"""Architectures of members that classify the features of all networks."""

SUFFIXES = {True: ".safetensors", False: ".skops"}  # of networks' files, and of the others'
SHA256 = re.compile(r"[0-9a-f]{64}")

Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class Member:
    """architecture: a network's, or one of CLASSICAL. file: a name beside the card, pinned by
    sha256. input_px, mean, std: what a network takes; of no meaning to the others."""

    name: str
    architecture: str
    file: str
    sha256: str
    input_px: int = 0
    mean: Rgb = (0.0, 0.0, 0.0)
    std: Rgb = (1.0, 1.0, 1.0)

    @property
    def is_network(self) -> bool:
        return self.architecture not in CLASSICAL

    def to_json(self) -> dict[str, Any]:
        fields = {name: getattr(self, name) for name in ("name", "architecture", "file", "sha256")}
        if not self.is_network:
            return fields
        return fields | {"input_px": self.input_px, "mean": list(self.mean), "std": list(self.std)}


def members_from_json(values: Sequence[Any]) -> tuple[Member, ...]:
    """Raises CardError where one is none."""
    return tuple(_member(value) for value in values)


def check_members(members: Sequence[Member], architecture: str) -> None:
    """Raises CardError, which names the member, its value and what it may be."""
    if not members:
        return
    if architecture != ENSEMBLE:
        raise CardError(f"members are listed, but architecture is {architecture!r}; use {ENSEMBLE}")
    names = [member.name for member in members]
    kinds = [member.is_network for member in members]
    if kinds != sorted(kinds, reverse=True):
        raise CardError(f"members are {', '.join(names)}; name the networks first")
    if len(set(names)) < len(names):
        raise CardError(f"members are {', '.join(names)}; each needs its own name")
    if not any(member.is_network for member in members):
        raise CardError(f"members are {', '.join(names)}; at least one has to be a network")
    for member in members:
        _check(member)


def _check(member: Member) -> None:
    suffix = SUFFIXES[member.is_network]
    if not member.file.endswith(suffix):
        raise CardError(f"member {member.name}: its file is {member.file!r}; use a {suffix} file")
    if Path(member.file).name != member.file or "\\" in member.file or not member.file:
        raise CardError(
            f"member {member.name}: its file is {member.file!r}; use a bare name, of a file beside "
            "the card"
        )
    if not SHA256.fullmatch(member.sha256):
        raise CardError(
            f"member {member.name}: its sha256 is {member.sha256!r}; it has 64 digits 0-9a-f"
        )
    if member.is_network and (member.input_px < 1 or min(member.std) <= 0):
        raise CardError(
            f"member {member.name}: input_px is {member.input_px}, std {list(member.std)}; "
            "a network needs all of them above 0"
        )


def _member(value: Any) -> Member:
    if not isinstance(value, Mapping):
        raise CardError(f"members holds {value!r:.80}; each is an object")
    try:
        return Member(**{key: _made(key, item) for key, item in value.items()})
    except (TypeError, ValueError) as error:
        raise CardError(f"members holds {dict(value)!r:.80}, which is none ({error})") from error


def _made(key: str, item: Any) -> Any:
    """Raises ValueError where the field has another type."""
    if key in ("mean", "std"):
        if not isinstance(item, list) or len(item) != 3:
            raise ValueError(f"{key} is {item!r}; it needs three numbers")
        return cast("Rgb", tuple(float(number) for number in item))
    wanted = int if key == "input_px" else str
    if not isinstance(item, wanted):
        raise ValueError(f"{key} is {item!r}")
    return item
