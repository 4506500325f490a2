"""Which pictures are the same, to the last pixel."""

from __future__ import annotations

from dataclasses import replace

from models.datasets.items import Damage, Item, Pictures, refuse_damaged
from models.datasets.reading import UInt8Array, map_pictures, pixels_sha256
from wsi.geometry import Size

__all__ = ["identical", "seen", "with_digests"]


def seen(item: Item, rgb: UInt8Array) -> Item:
    """The item with what its pixels say: size and sha256."""
    return replace(item, size=Size(rgb.shape[1], rgb.shape[0]), sha256=pixels_sha256(rgb))


def with_digests(pictures: Pictures) -> Pictures:
    """Every item seen; those that were are not decoded again.

    Raises DatasetError where pictures cannot be read.
    """
    unseen = [i for i, item in enumerate(pictures.items) if item.sha256 is None]
    items = list(pictures.items)
    damaged = []
    for i, found in zip(unseen, map_pictures(pictures, seen, unseen), strict=True):
        if isinstance(found, Damage):
            damaged.append(found)
        else:
            items[i] = found
    refuse_damaged(pictures.folder, damaged, len(pictures))
    return pictures.with_items(items)


def identical(pictures: Pictures) -> list[list[int]]:
    """Groups of places in `items`, two or more in each, of equal size and pixels.

    Pictures that nobody looked at yet are in none.
    """
    groups: dict[tuple[Size | None, str], list[int]] = {}
    for i, item in enumerate(pictures.items):
        if item.sha256 is not None:
            groups.setdefault((item.size, item.sha256), []).append(i)
    return [group for group in groups.values() if len(group) > 1]
