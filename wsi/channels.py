"""What a heatmap may show beside the probabilities of its classes: one plane a channel, by name."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from wsi.errors import InvalidOption

__all__ = ["CHANNELS", "Channel", "check_channels"]

PLAIN = re.compile(r"[a-z][a-z0-9_-]*")


class Channel(NamedTuple):
    meaning: str
    largest: float  # value that it can have; the smallest is 0


CHANNELS: dict[str, Channel] = {
    "raw": Channel("probability of the positive class before calibration", 1.0),
    "uncertainty": Channel(
        "standard deviation, over the tile's 8 symmetries, of the probability of the class that is "
        "the most probable on their mean",
        0.5,
    ),
    "context": Channel(
        "probability of the positive class from the tile's score and those of its neighbours", 1.0
    ),
}
"""Those that the parts of this project make, in the order in which results hold them."""


def check_channels(names: Iterable[str], classes: Iterable[str]) -> None:
    """Other names than those of CHANNELS are welcome; files have them as names of folders.

    Raises InvalidOption where one is no plain word, or a class's own.
    """
    for name in names:
        if not PLAIN.fullmatch(name):
            raise InvalidOption(f"channel {name!r}: use a-z, 0-9, _ and -, a letter first")
        if name in classes:
            raise InvalidOption(f"a class and a channel are both named {name!r}; rename the class")
