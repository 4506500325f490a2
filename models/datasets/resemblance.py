"""Pictures that look the same and are called differently."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from models.datasets.items import Int64Array
from models.datasets.reading import UInt8Array

__all__ = ["Thumb", "contradicting", "thumb"]

SIDE = 8  # of the thumbnail
MOST_DIFFERENCE = 3  # grey levels, of any value of the thumbnail
MOST_IN_BUCKET = 4000  # blank tiles fall into one; their pairs would be counted by the million


class Thumb(NamedTuple):
    """pixels: uint8 (8, 8, 3), averages. hash: 64 bits, whether each is lighter than the next."""

    pixels: UInt8Array
    hash: int


def thumb(rgb: UInt8Array) -> Thumb:
    import cv2

    wide = cv2.resize(rgb, (SIDE + 1, SIDE), interpolation=cv2.INTER_AREA).astype(np.int16)
    grey = wide.sum(axis=2)
    bits = np.packbits(grey[:, 1:] > grey[:, :-1])
    return Thumb(wide[:, :SIDE].astype(np.uint8), int.from_bytes(bits.tobytes()))


def contradicting(
    thumbs: Sequence[Thumb | None], label: Int64Array, same: Sequence[Sequence[int]]
) -> Iterator[tuple[int, int]]:
    """Pairs with different labels, equal hashes and thumbnails at most 3 grey levels apart.

    same: groups of identical pictures, whose pairs are not told again. A copy that was saved again
    is found; a shifted or turned one is not, nor one whose hash changed: no pair proves nothing.
    """
    group = {i: number for number, members in enumerate(same) for i in members}
    buckets: dict[int, list[int]] = {}
    for i, one in enumerate(thumbs):
        if one is not None:
            buckets.setdefault(one.hash, []).append(i)
    for bucket in buckets.values():
        for i, j in _pairs(thumbs, label, bucket[:MOST_IN_BUCKET]):
            if group.get(i, -1) != group.get(j, -2):
                yield i, j


def _pairs(
    thumbs: Sequence[Thumb | None], label: Int64Array, bucket: list[int]
) -> Iterator[tuple[int, int]]:
    members = np.array(bucket)
    if len(np.unique(label[members])) < 2:
        return
    pixels = np.stack([one.pixels for i in bucket if (one := thumbs[i])]).astype(np.int16)
    for k, i in enumerate(bucket):
        others = members[k + 1 :]
        apart = np.abs(pixels[k + 1 :] - pixels[k]).max(axis=(1, 2, 3), initial=0)
        for j in others[(apart <= MOST_DIFFERENCE) & (label[others] != label[i])].tolist():
            yield i, j
