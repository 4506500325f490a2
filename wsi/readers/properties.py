"""Numbers out of a slide's properties, which hold whatever a program wrote there."""

import math
from collections.abc import Mapping
from typing import Any

from wsi.geometry import Box, Size

__all__ = ["read_bounds", "read_number", "read_power"]


def read_number(properties: Mapping[str, Any], name: str) -> float | None:
    """None where it is missing, no number or not finite."""
    try:
        number = float(properties[name])
    except (KeyError, TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def read_power(properties: Mapping[str, Any], name: str) -> float | None:
    """An objective's; None where it is none, as the 0 that some programs write."""
    power = read_number(properties, name)
    return power if power is not None and power > 0 else None


def read_bounds(properties: Mapping[str, Any], prefix: str, size0: Size) -> Box | None:
    """The box of `prefix`-x, -y, -width and -height inside level 0; None where one is missing, or
    the box holds no pixel."""
    sides = [read_number(properties, f"{prefix}-{side}") for side in ("x", "y", "width", "height")]
    known = [int(side) for side in sides if side is not None]
    if len(known) < 4:
        return None
    bounds = Box(*known).intersection(Box(0, 0, *size0))
    return None if bounds.is_empty else bounds
