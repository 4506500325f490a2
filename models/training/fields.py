"""Fields of a recipe's tables, checked where a table is made: their types and ranges."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from models.errors import DatasetError

__all__ = ["Range", "check_choice", "check_fields", "check_rgb", "check_texts"]

Range = tuple[float, float]
"""Smallest and largest value."""


def check_fields(record: Any, ranges: Mapping[str, Range], table: str = "") -> None:
    """Numbers are finite and in their range, whole where the default is; switches are true or
    false, texts are text. What is none of these its owner checks.

    record: a dataclass's; its defaults say the types. Raises DatasetError.
    """
    for one in fields(record):
        name, value = f"{table}.{one.name}" if table else one.name, getattr(record, one.name)
        if one.name in ranges:
            _check_number(name, value, ranges[one.name], is_whole=isinstance(one.default, int))
        elif isinstance(one.default, bool) and not isinstance(value, bool):
            raise DatasetError(f"recipe: {name} is {value!r}; use true or false")
        elif one.type == "str" and not isinstance(value, str):
            raise DatasetError(f"recipe: {name} is {value!r}; use text")


def check_choice(name: str, value: Any, known: tuple[str, ...]) -> None:
    """Raises DatasetError."""
    if value not in known:
        raise DatasetError(f"recipe: {name} is {value!r}; use {', '.join(known)}")


def check_texts(name: str, value: Any, least: int = 0) -> None:
    """Raises DatasetError where they are not `least` texts or more, each once."""
    is_list = isinstance(value, tuple) and all(isinstance(text, str) and text for text in value)
    if not is_list or len(set(value)) < max(least, len(value)):
        many = f"{least} or more texts" if least else "texts"
        raise DatasetError(f"recipe: {name} is {value!r}; use a list of {many}, each once")


def check_rgb(name: str, value: Any, range_: Range) -> None:
    """Raises DatasetError where it is not a number for each of red, green and blue."""
    if not isinstance(value, tuple) or len(value) != 3:
        raise DatasetError(
            f"recipe: {name} is {value!r}; use three numbers, for red, green and blue"
        )
    for one in value:
        _check_number(name, one, range_, is_whole=False)


def _check_number(name: str, value: Any, range_: Range, *, is_whole: bool) -> None:
    low, high = range_
    is_number = isinstance(value, int if is_whole else int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not low <= value <= high:
        use = f"a whole number from {low} to {high}" if is_whole else f"{low:g} to {high:g}"
        raise DatasetError(f"recipe: {name} is {value!r}; use {use}")
