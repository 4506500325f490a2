"""What a slide is: a pyramid of RGB levels, and what its file says about them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from wsi.address import public_url
from wsi.errors import MissingResolution
from wsi.geometry import Box, Mpp, Scale, Size

__all__ = [
    "RGB",
    "WHITE",
    "Level",
    "RemoteIdentity",
    "Slide",
    "SlideInfo",
    "require_mpp",
    "slide_name",
]

RGB = tuple[int, int, int]
WHITE: RGB = (255, 255, 255)


@dataclass(frozen=True)
class Level:
    """One layer of the pyramid; level 0 is the largest."""

    size: Size
    downsample: Scale  # level-0 px for each px of this level
    tile: Size  # the block that the file stores and decodes as one, in px of this level


class RemoteIdentity(NamedTuple):
    """What a server says of a file; with its URL it is the file's identity."""

    size_bytes: int
    etag: str | None  # without quotes; None where the server has none
    modified: str | None = None  # where there is no ETag: when the file was written, as it is told
    query_sha256: str | None = None  # of the URL's query, as of wsi.address.query_sha256()


@dataclass(frozen=True)
class SlideInfo:
    """What the file says, before any pixel is decoded."""

    path: str  # as it was given: a path or a URL
    reader: str  # key of READERS
    vendor: str  # OpenSlide's name, or the file format
    size: Size  # level 0
    levels: tuple[Level, ...]
    mpp: Mpp | None  # level 0; None where neither file nor caller states a believable value
    mpp_source: str | None  # the property, tag or "caller" that mpp comes from
    objective_power: float | None = None  # a label; never computed with
    bounds: Box | None = None  # the scanned part of level 0; None: all of it
    background: RGB = WHITE  # what is shown where nothing was scanned
    icc_profile: bytes | None = None  # kept, applied on request only
    warnings: tuple[str, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)  # an allow-list: no patient data
    files: tuple[Path, ...] = ()  # every local file the slide consists of; empty for a remote one
    remote: RemoteIdentity | None = None  # of a slide behind a URL
    why: str = ""  # this reader and not the one before it in READERS; empty where it was asked for

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return slide_name(self.path)

    @property
    def bounds0(self) -> Box:
        return self.bounds or Box(0, 0, *self.size)


@runtime_checkable
class Slide(Protocol):
    """A slide that is open. Reading is safe from several threads; close it, or use `with`."""

    @property
    def info(self) -> SlideInfo: ...

    def read_level(self, level: int, box: Box) -> NDArray[np.uint8]:
        """Pixels of a box in the frame of `level` (not of level 0): uint8 (height, width, 3), RGB.

        What lies outside the level, or was not scanned, has the slide's background colour.
        The caller owns the array. Raises CorruptSlide where the file cannot be decoded.
        """
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...


def slide_name(path: str) -> str:
    """The last part of a path or a URL; of a URL without what may be a password.

    Of a folder named by dots it is the folder's own name, of a URL without a path its host: results
    are called by it.
    """
    if "://" in path:
        parts = public_url(path).partition("://")[2].split("/")
        return next((part for part in reversed(parts) if part not in ("", ".", "..")), "slide")
    name = path.rstrip("/").rsplit("/", 1)[-1]
    return name if name not in ("", ".", "..") else Path(path).resolve().name


def require_mpp(info: SlideInfo) -> Mpp:
    """The resolution of level 0, or MissingResolution with the way out."""
    if info.mpp is None:
        why = "; ".join(w for w in info.warnings if "resolution" in w)
        raise MissingResolution(
            f"{info.path}: the file does not state its resolution{f' ({why})' if why else ''}; "
            "pass it in um/px, for example --mpp 0.25 for a 40x scan (mpp=0.25 in Python)"
        )
    return info.mpp
