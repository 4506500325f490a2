"""Bodies of any size that pass for slides: a small TIFF, and what no directory points to."""

import hashlib
import io
from collections.abc import Iterator

import numpy as np
import tifffile

__all__ = ["BigSlide"]

BLOCK_BYTES = 256 << 10


class BigSlide:
    """`size_bytes` of which no two numbers share the content; made while it is read."""

    def __init__(self, number: int, size_bytes: int) -> None:
        self.number, self.size_bytes = number, size_bytes
        file = io.BytesIO()
        pixels = np.full((64, 64, 3), number % 256, np.uint8)
        tifffile.imwrite(file, pixels, tile=(64, 64), photometric="rgb", metadata=None)
        self._head = file.getvalue()
        self._block = np.random.default_rng(number).bytes(BLOCK_BYTES)

    def blocks(self) -> Iterator[bytes]:
        left = self.size_bytes - len(self._head)
        yield self._head
        while left > 0:
            yield self._block[: min(left, BLOCK_BYTES)]
            left -= BLOCK_BYTES

    @property
    def sha256(self) -> str:
        digest = hashlib.sha256()
        for block in self.blocks():
            digest.update(block)
        return digest.hexdigest()
