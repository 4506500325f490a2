"""What a slide's file says, as JSON: written in the reader process, and doubted in the parent."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from service.sandbox.wire import BadMessage
from wsi.geometry import Box, Mpp, Scale, Size, is_plausible_mpp
from wsi.readers import READERS
from wsi.readers.limits import MAX_LEVELS, MAX_SLIDE_PX
from wsi.slide import RGB, Level, SlideInfo

__all__ = ["MAX_TEXT", "clean_text", "describe_slide", "leave_out_names", "parse_slide"]

T = TypeVar("T")

MAX_TEXT = 2000  # characters of one text
MAX_SIDE = 1 << 31
MAX_TEXTS = 64  # warnings, properties
MAX_FILES = 20_001  # the gate's limit, and the entry
NEUTRAL_STEM = "slide"  # the service's own name for the file of an upload
LEAST_LETTERS = 4  # of a name: a shorter one stands in too many words to be taken out of them
PROPERTY = re.compile(r"openslide\.[a-z0-9.-]{1,64}")
FIELDS = (
    "reader", "vendor", "size", "levels", "mpp", "mpp_source", "objective_power", "bounds",
    "background", "warnings", "properties", "files", "why",
)  # fmt: skip


def describe_slide(info: SlideInfo) -> dict[str, Any]:
    """JSON types; all but the path, which the parent knows, and the ICC profile."""
    return {
        "reader": info.reader,
        "vendor": clean_text(info.vendor),
        "size": info.size,
        "levels": [[*level.size, *level.downsample, *level.tile] for level in info.levels],
        "mpp": info.mpp,
        "mpp_source": info.mpp_source,
        "objective_power": _finite(info.objective_power),
        "bounds": info.bounds,
        "background": info.background,
        "warnings": [clean_text(warning) for warning in info.warnings],
        "properties": {name: clean_text(text) for name, text in info.properties.items()},
        "files": [str(path) for path in info.files],
        "why": clean_text(info.why),
    }


def parse_slide(value: object, path: str, icc_profile: bytes | None) -> SlideInfo:
    """BadMessage where anything is missing, too much, of another type or out of its range.

    `path`: the slide's, as the caller gave it; all its files must be there or below its folder.
    """
    if not isinstance(value, dict) or set(value) != set(FIELDS):
        raise BadMessage("a description with other fields than a slide's")
    size = _size(value["size"])
    levels = tuple(_level(item, size) for item in _items(value["levels"], MAX_LEVELS))
    if not levels or levels[0].size != size or size.width * size.height > MAX_SLIDE_PX:
        raise BadMessage("levels that contradict the size")
    if value["reader"] not in READERS:
        raise BadMessage("an unknown reader")
    files = _items(value["files"], MAX_FILES)
    return SlideInfo(
        path=path,
        reader=value["reader"],
        vendor=_text(value["vendor"]),
        size=size,
        levels=levels,
        mpp=_optional(value["mpp"], _mpp),
        mpp_source=_optional(value["mpp_source"], _text),
        objective_power=_optional(value["objective_power"], _number),
        bounds=_optional(value["bounds"], lambda item: _bounds(item, size)),
        background=_background(value["background"]),
        icc_profile=icc_profile,
        warnings=tuple(_text(item) for item in _items(value["warnings"], MAX_TEXTS)),
        properties=_properties(value["properties"]),
        files=tuple(_file(item, Path(path)) for item in files),
        why=_text(value["why"]),
    )


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def clean_text(text: str) -> str:
    """At most MAX_TEXT characters on one line; a control character becomes a space."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return shown if len(shown) <= MAX_TEXT else f"{shown[: MAX_TEXT - 2]} …"


def leave_out_names(text: str, path: str, name: str) -> str:
    """A sentence about the slide at `path`, without what its file and folder are called, which may
    be a patient's name: `name` stands for the slide and what is below it."""
    place = Path(path)
    shown = _replaced(text, place, name)
    if place.parent != Path(place.anchor):
        shown = _replaced(shown, place.parent, f"a file beside {name}")
    if place.stem != NEUTRAL_STEM:
        for word in (place.name, place.stem):
            shown = shown.replace(word, name) if len(word) >= LEAST_LETTERS else shown
    return shown


def _replaced(text: str, place: Path, name: str) -> str:
    """Also where it is quoted, and with what lies below it up to a colon, a quote or the end."""
    forms = {
        form for said in (str(place), repr(str(place))[1:-1]) for form in (said, clean_text(said))
    }
    either = "|".join(map(re.escape, sorted(forms, key=len, reverse=True)))
    return re.sub(rf"(?:{either})(?:/[^:'\"]*)?", lambda _: name, text)


def _items(value: object, limit: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > limit:
        raise BadMessage(f"no list of at most {limit}")
    return value


def _numbers(value: object, count: int) -> list[Any]:
    numbers = _items(value, count)
    if len(numbers) != count:
        raise BadMessage(f"no list of {count}")
    return numbers


def _int(value: object, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise BadMessage(f"no whole number from {low} to {high}")
    return value


def _number(value: object) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):  # type: ignore[arg-type]
        raise BadMessage("no finite number")
    return float(value)  # type: ignore[arg-type]


def _text(value: object) -> str:
    if not isinstance(value, str) or clean_text(value) != value:
        raise BadMessage("no short line of text")
    return value


def _optional(value: object, parse: Callable[[Any], T]) -> T | None:
    return None if value is None else parse(value)


def _size(value: object) -> Size:
    return Size(*(_int(side, 1, MAX_SIDE) for side in _numbers(value, 2)))


def _level(value: object, size0: Size) -> Level:
    numbers = _numbers(value, 6)
    size, tile = _size(numbers[:2]), _size(numbers[4:])
    downsample = Scale(*map(_number, numbers[2:4]))
    for side0, side, factor in zip(size0, size, downsample, strict=True):
        if factor <= 0 or abs(side0 / factor - side) > 1:
            raise BadMessage("a level whose size contradicts its downsample")
    return Level(size, downsample, tile)


def _mpp(value: object) -> Mpp:
    mpp = Mpp(*map(_number, _numbers(value, 2)))
    if not all(map(is_plausible_mpp, mpp)):
        raise BadMessage("a resolution outside its range")
    return mpp


def _bounds(value: object, size: Size) -> Box:
    bounds = Box(*(_int(number, 0, MAX_SIDE) for number in _numbers(value, 4)))
    if bounds.is_empty or bounds.intersection(Box(0, 0, *size)) != bounds:
        raise BadMessage("bounds outside the slide")
    return bounds


def _background(value: object) -> RGB:
    red, green, blue = (_int(number, 0, 255) for number in _numbers(value, 3))
    return red, green, blue


def _properties(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > MAX_TEXTS:
        raise BadMessage("no properties")
    if not all(PROPERTY.fullmatch(name) for name in value):
        raise BadMessage("a property with another name than OpenSlide's")
    return {name: _text(text) for name, text in value.items()}


def _file(value: object, slide: Path) -> Path:
    """A slide is one file, files in one folder, or a file and the folder beside it."""
    file = Path(value) if isinstance(value, str) and "\0" not in value else None
    homes = (slide, slide.parent)
    home = next((home for home in homes if file and file.is_relative_to(home)), None)
    if file is None or home is None or ".." in file.relative_to(home).parts:
        raise BadMessage("a file outside the slide's folder")
    return file
