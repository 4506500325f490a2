"""What the row of a slide says."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from sqlalchemy import ColumnElement, RowMapping, func

from service.database import slides

__all__ = ["Stored", "StoredSlide", "came_before"]

NOT_TOLD = ("place", "key_id", "renewed_at")


@dataclass(frozen=True)
class StoredSlide:
    """A slide as it was when its row was read."""

    id: str
    tenant: str
    sha256: str  # of the bytes that came; of a path see wsi.identity
    size_bytes: int  # on disk: of an archive, unpacked
    kind: str  # file, archive, path
    path: Path  # to give to open_slide
    facts: Mapping[str, Any] | None  # JSON: size0, mpp … once a reader has opened it
    created_at: float

    @classmethod
    def from_row(cls, row: RowMapping, data: Path) -> Self:
        """`data`: the folder that our own copies are below."""
        fields = {name: row[name] for name in row if name not in NOT_TOLD}
        return cls(path=data / row["place"], **fields)


@dataclass(frozen=True)
class Stored:
    slide: StoredSlide
    created: bool  # False: the tenant had the same bytes already


def came_before(when: float) -> ColumnElement[bool]:
    """Of a row: its bytes came before that, in Unix seconds, the last time that they came."""
    return func.coalesce(slides.c.renewed_at, slides.c.created_at) < when
