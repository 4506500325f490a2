"""Decoded tiles that several reads need at about the same time: decoded once, kept for a while."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["DecodedTiles"]


class DecodedTiles:
    """The tiles used last, of `limit_bytes` together. Safe from several threads."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, NDArray[Any]] = OrderedDict()
        self._kept_bytes = 0
        self._coming: dict[Hashable, Future[NDArray[Any]]] = {}

    def find(self, key: Hashable) -> NDArray[Any] | None:
        """A tile that is kept: not to be written to."""
        if not self._kept:  # where tiles are read whole, always
            return None
        with self._lock:
            tile = self._kept.get(key)
            if tile is not None:
                self._kept.move_to_end(key)
            return tile

    def get(self, key: Hashable, decode: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """A tile, decoded by the first thread that asks; others wait for it, and for its error."""
        with self._lock:
            tile = self._kept.get(key)
            if tile is not None:
                self._kept.move_to_end(key)
                return tile
            coming = self._coming.get(key)
            ours = coming is None
            if coming is None:
                coming = self._coming[key] = Future()
        if not ours:
            return coming.result()
        try:
            tile = decode()
        except BaseException as error:
            self._forget(key)
            coming.set_exception(error)
            raise
        self._keep(key, tile)
        coming.set_result(tile)
        return tile

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()
            self._kept_bytes = 0

    def _forget(self, key: Hashable) -> None:
        with self._lock:
            del self._coming[key]

    def _keep(self, key: Hashable, tile: NDArray[Any]) -> None:
        with self._lock:
            del self._coming[key]
            if np.asarray(tile).nbytes > self._limit:
                return
            self._kept[key] = tile
            self._kept_bytes += tile.nbytes
            while self._kept_bytes > self._limit:
                _, oldest = self._kept.popitem(last=False)
                self._kept_bytes -= oldest.nbytes
