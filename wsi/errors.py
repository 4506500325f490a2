"""What can go wrong with a slide. The message names the thing, its value and the way out."""

__all__ = [
    "CorruptSlide",
    "InvalidGrid",
    "InvalidMask",
    "InvalidOption",
    "MissingResolution",
    "ResultExists",
    "SlideNotFound",
    "SlideTooCoarse",
    "SlideTooLarge",
    "SlideUnreachable",
    "StoreIncomplete",
    "StoreMismatch",
    "UnsupportedSlide",
    "WsiError",
]


class WsiError(Exception):
    """Base of every error that this package raises on purpose."""


class SlideNotFound(WsiError):
    """There is no file at that path or URL."""


class SlideUnreachable(WsiError):
    """A remote slide's server does not answer any more, or has another file there by now."""


class UnsupportedSlide(WsiError):
    """The file is whole, but it is no bright-field RGB slide that a reader here can show."""


class CorruptSlide(WsiError):
    """The file is damaged: its header lies, or its pixels cannot be decoded."""


class MissingResolution(WsiError):
    """Neither the file nor the caller says how many micrometres a pixel is."""


class SlideTooLarge(WsiError):
    """More pixels than a slide can have: a broken header, or a decompression bomb."""


class SlideTooCoarse(WsiError):
    """Level 0 shows less detail than the tiles need; the caller may ask for upsampling."""


class InvalidGrid(WsiError):
    """Tile size, stride, resolution or tissue fraction that no grid can have."""


class InvalidMask(WsiError):
    """A user's own mask that does not fit the slide or cannot be read."""


class InvalidOption(WsiError):
    """An argument outside its range, or a name that no table holds."""


class StoreIncomplete(WsiError):
    """A store that a stopped run left behind, or one with missing or damaged parts."""


class StoreLocked(StoreIncomplete):
    """A store that another process is writing."""


class StoreGone(StoreIncomplete):
    """A store that was taken away while it was read."""


class StoreMismatch(WsiError):
    """A store of another schema version, or made from something else."""


class ResultExists(WsiError):
    """A different result is already at that place."""
