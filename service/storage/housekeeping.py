"""What is done every hour beside the API: what is kept no longer goes away."""

import logging
import threading
from collections.abc import Callable
from typing import Self

__all__ = ["EVERY_S", "Housekeeper"]

logger = logging.getLogger(__name__)

EVERY_S = 3600.0


class Housekeeper:
    """Calls `work` in a thread for as long as the block runs; the first time after `every_s`."""

    def __init__(self, work: Callable[[], object], every_s: float = EVERY_S) -> None:
        self._work, self._every_s = work, every_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeper", daemon=True)

    def _run(self) -> None:
        while not self._stopping.wait(self._every_s):
            try:
                self._work()
            except Exception:  # the disk or the database may be well again in an hour
                logger.exception("housekeeping failed")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopping.set()
