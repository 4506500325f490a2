"""Batches of tiles that several threads fill at the same time."""

import math
import threading
import weakref
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Batches", "TileBatch"]


@dataclass(frozen=True)
class TileBatch:
    """Tiles in the order of their plan; the receiver owns the array."""

    rgb: NDArray[np.uint8]  # (n, tile_px, tile_px, 3), RGB
    start: int  # place of the first one in the plan

    def __len__(self) -> int:
        return len(self.rgb)


class Batches:
    """`count` tiles from `first` of the plan on, by `size`; each batch is made when needed."""

    def __init__(self, first: int, count: int, size: int, tile_px: int) -> None:
        self._first, self._count, self._size = first, count, size
        self._tile_px = tile_px
        self._lock = threading.Lock()
        self._made: dict[int, NDArray[np.uint8]] = {}
        self._memory = _Memory(min(size, count) * tile_px**2 * 3)

    def room_for(self, position: int) -> NDArray[np.uint8]:
        """(tile_px, tile_px, 3): where the tile of that place in the plan is to be written."""
        room: NDArray[np.uint8] = next(self.rooms_for(position, 1))[0]
        return room

    def rooms_for(self, position: int, count: int) -> Iterator[NDArray[np.uint8]]:
        """The same for that many tiles from there on: (n, tile_px, tile_px, 3) of each batch."""
        start, stop = position - self._first, position - self._first + count
        while start < stop:
            batch, place = divmod(start, self._size)
            with self._lock:
                made = self._made.get(batch)
                if made is None:
                    made = self._made[batch] = self._make(batch)
            rooms = made[place : place + stop - start]
            start += len(rooms)
            yield rooms

    def take(self, start: int) -> TileBatch:
        """The batch that begins `start` tiles after the first."""
        with self._lock:
            return TileBatch(self._made.pop(start // self._size), self._first + start)

    def length(self, start: int) -> int:
        return min(self._size, self._count - start)

    def _make(self, batch: int) -> NDArray[np.uint8]:
        shape = (self.length(batch * self._size), self._tile_px, self._tile_px, 3)
        return self._memory.array(shape)


class _Memory:
    """For arrays of the same size, one after the other.

    What an array lay in is used again once nobody holds the array, or a view of it: the system
    zeroes new memory first, which takes a twentieth of the time to decode the tiles in it.
    """

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._free: deque[NDArray[np.uint8]] = deque()

    def array(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        try:
            memory = self._free.pop()
        except IndexError:
            memory = np.empty(self._size_bytes, np.uint8)
        # of a memoryview, not of an array: then whatever is a view of it holds it
        flat = np.frombuffer(memory.data, np.uint8, math.prod(shape))
        weakref.finalize(flat, self._free.append, memory).atexit = False
        return flat.reshape(shape)
