"""Which resolution counts: the caller's, else the first believable one that the file states."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from wsi.errors import InvalidOption
from wsi.geometry import MPP_RANGE, Mpp, is_plausible_mpp
from wsi.readers.ome import read_ome
from wsi.readers.tifftags import Ifd

__all__ = ["Resolution", "Stated", "mpp_from_caller", "resolve", "stated_by_tiff"]

CONTRADICTION = 0.05
"""Two statements that differ by more than this are a contradiction; 0.2503 and 0.25 are not."""

OBJECTIVE_CONTRADICTION = 0.35
"""Scanners' 20x lies between 0.45 and 0.55 um/px and their 40x between 0.2 and 0.28."""

UM_FROM_TIFF_UNIT = {2: 25400.0, 3: 10000.0}
DEFAULT_DPI = (72, 75, 96, 100, 150, 200, 240, 300)
PRINT_DPI = (600, 1200, 2400)  # believable as um/px, and yet what print programs write


class Stated(NamedTuple):
    """What one place of the file says, believable or not."""

    source: str
    mpp: Mpp
    is_tag: bool = False  # TIFF resolution tags, which any program fills in


@dataclass(frozen=True)
class Resolution:
    mpp: Mpp | None
    source: str | None
    warnings: tuple[str, ...]


def mpp_from_caller(mpp: float | tuple[float, float] | None) -> Mpp | None:
    """One number is for both axes. InvalidOption outside 0.05 to 60 um/px."""
    if mpp is None:
        return None
    pair = Mpp(*map(float, mpp)) if isinstance(mpp, tuple) else Mpp(float(mpp), float(mpp))
    if not all(is_plausible_mpp(value) for value in pair):
        low, high = MPP_RANGE
        raise InvalidOption(
            f"a resolution of {_text(pair)} um/px: use {low} to {high:g}, "
            "for example 0.25 for a 40x scan"
        )
    return pair


def resolve(stated: Sequence[Stated], caller: Mpp | None, power: float | None) -> Resolution:
    """`stated` in order of trust; `power` is the objective's."""
    believable = [s for s in stated if all(is_plausible_mpp(v) for v in s.mpp)]
    first = believable[0] if believable else None
    if caller is not None:
        chosen: Stated | None = Stated("caller", caller)
        warnings = [_warn_contradiction(first, caller)] if first else []
    elif first is not None:
        chosen = first
        warnings = [_warn_print_dpi(first)]
        warnings += [_warn_disagreement(first, other) for other in believable[1:]]
    else:
        chosen = None
        warnings = [_warn_implausible(s) for s in stated[:1]] + [_warn_power_only(power)]
    if chosen is not None:
        warnings.append(_warn_power(chosen.mpp, power))
    kept = tuple(w for w in warnings if w)
    return Resolution(chosen.mpp, chosen.source, kept) if chosen else Resolution(None, None, kept)


def stated_by_tiff(ifd: Ifd, name: str) -> list[Stated]:
    """OME metadata first, then ImageJ's unit, then the resolution tags."""
    stated = []
    ome = read_ome(ifd.description, name)
    if ome and ome.pixel_um:
        stated.append(Stated("ome.PhysicalSizeX", Mpp(*ome.pixel_um)))
    if ifd.resolution is None:
        return stated
    x, y, unit = ifd.resolution
    if ifd.description.startswith("ImageJ=") and _imagej_unit_is_um(ifd.description):
        stated.append(Stated("imagej.unit", Mpp(1 / x, 1 / y)))
    elif unit in UM_FROM_TIFF_UNIT:
        um = UM_FROM_TIFF_UNIT[unit]
        stated.append(Stated("tiff.XResolution", Mpp(um / x, um / y), is_tag=True))
    return stated


def _imagej_unit_is_um(description: str) -> bool:
    found = re.search(r"^unit=(.*)$", description, re.MULTILINE)
    return found is not None and found.group(1).strip() in ("micron", "um", "µm", "\\u00B5m")


def _warn_implausible(stated: Stated) -> str:
    dpi = _named_dpi(stated.mpp, DEFAULT_DPI, 0.005)
    tag = "resolution tag" if stated.is_tag else f"resolution ({stated.source})"
    reads = f"the {tag} reads as {_text(stated.mpp)} um/px"
    if dpi:
        return f"{reads}, which is {dpi} dpi, a program's default"
    return f"{reads}, outside {MPP_RANGE[0]} to {MPP_RANGE[1]:g}, so it is no measurement"


def _warn_print_dpi(stated: Stated) -> str:
    dpi = _named_dpi(stated.mpp, PRINT_DPI, 0.001) if stated.is_tag else None
    if dpi is None:
        return ""
    return (
        f"the resolution tag reads as {_text(stated.mpp)} um/px, which is {dpi} dpi, as print "
        "programs write it; pass the slide's own resolution if this is not it"
    )


def _warn_contradiction(stated: Stated, caller: Mpp) -> str:
    if not _differ(stated.mpp, caller, CONTRADICTION):
        return ""
    return (
        f"the resolution given, {_text(caller)} um/px, is used; the file states "
        f"{_text(stated.mpp)} um/px ({stated.source})"
    )


def _warn_disagreement(first: Stated, other: Stated) -> str:
    if not _differ(first.mpp, other.mpp, CONTRADICTION):
        return ""
    return (
        f"the file states its resolution twice: {_text(first.mpp)} um/px ({first.source}), which "
        f"is used, and {_text(other.mpp)} um/px ({other.source})"
    )


def _warn_power(mpp: Mpp, power: float | None) -> str:
    if power is None or not _differ(mpp, Mpp(10 / power, 10 / power), OBJECTIVE_CONTRADICTION):
        return ""
    return (
        f"an objective power of {power:g}x goes with about {10 / power:.3g} um/px, "
        f"but the resolution is {_text(mpp)} um/px"
    )


def _warn_power_only(power: float | None) -> str:
    if power is None:
        return ""
    return f"an objective power of {power:g}x often means a resolution of {10 / power:.3g} um/px"


def _differ(one: Mpp, other: Mpp, tolerance: float) -> bool:
    """The larger is more than (1 + tolerance) times the smaller, along either axis."""
    return any(
        abs(math.log(a / b)) > math.log1p(tolerance) for a, b in zip(one, other, strict=True)
    )


def _named_dpi(mpp: Mpp, known: Sequence[int], tolerance: float) -> int | None:
    if not all(math.isfinite(value) and value > 0 for value in mpp):
        return None
    return next((dpi for dpi in known if abs(25400 / mpp.x / dpi - 1) < tolerance), None)


def _text(mpp: Mpp) -> str:
    x, y = (f"{value:.4g}" for value in mpp)
    return x if x == y else f"{x} x {y}"
