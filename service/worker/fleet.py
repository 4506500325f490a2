"""The worker processes of one machine: started together, started again when they die."""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from service.cluster import count_gpus
from service.settings import Settings
from wsi.cores import usable_cores

__all__ = ["WORKER", "Fleet", "worker_environments"]

logger = logging.getLogger(__name__)

WORKER = (sys.executable, "-c", "from service.cli import main; main()", "worker")

SECRETS = ("WSI_TOKEN_SECRET", "WSI_JWT_")
"""Variables that begin so are the API's alone."""

LOOK_S = 0.25
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0
SOUND_S = 60.0
"""A worker that lived so long may be started again at once."""


@dataclass
class _Place:
    """One worker's: who has it, and how often its workers died young."""

    environment: Mapping[str, str]
    process: "subprocess.Popen[bytes] | None" = None
    began_at: float = 0.0
    start_at: float = 0.0
    deaths: int = 0


class Fleet:
    """A thread of its own starts and watches them: they end when it does, so it lives to the end.

    Use it in a `with` block, which ends with all of them gone.
    """

    def __init__(
        self, environments: Sequence[Mapping[str, str]], command: Sequence[str] = WORKER
    ) -> None:
        self._places = [_Place(environment) for environment in environments]
        self._command = [*command, "--parent", str(os.getpid())]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="fleet", daemon=True)

    @property
    def pids(self) -> list[int]:
        """Of those that live."""
        processes = [place.process for place in self._places]
        return [process.pid for process in processes if process and process.poll() is None]

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Tells all to stop, and returns at once: each hands its job back."""
        self._stopping.set()

    def close(self, timeout_s: float) -> None:
        """Waits until they have ended, and ends by force what has not."""
        self.stop()
        self._thread.join(timeout_s)
        for place in self._places:
            if place.process and place.process.poll() is None:
                place.process.kill()
                place.process.wait()

    def _watch(self) -> None:
        while not self._stopping.wait(LOOK_S):
            for place in self._places:
                self._look(place)
        for place in self._places:
            if place.process and place.process.poll() is None:
                place.process.terminate()
        for place in self._places:
            if place.process:
                place.process.wait()

    def _look(self, place: _Place) -> None:
        now = time.monotonic()
        if place.process is not None:
            code = place.process.poll()
            if code is None:
                return
            sound = now - place.began_at >= SOUND_S
            place.deaths = 0 if sound else place.deaths + 1
            pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** max(0, place.deaths - 1))
            place.process, place.start_at = None, now + pause_s
            logger.error("a worker ended with code %d; next in %.1f s", code, pause_s)
        if now >= place.start_at:
            self._start(place, now)

    def _start(self, place: _Place, now: float) -> None:
        try:
            place.process = subprocess.Popen(
                self._command, env=dict(place.environment), stdin=subprocess.DEVNULL
            )
            place.began_at = now
        except OSError as error:  # no memory for a process; with this thread all workers would end
            place.start_at = now + LONGEST_PAUSE_S
            logger.error("no worker can be started: %s; again in %g s", error, LONGEST_PAUSE_S)


def worker_environments(settings: Settings) -> list[dict[str, str]]:
    """For each of `settings.workers` processes: the settings, a GPU, its share of the cores."""
    base = {k: v for k, v in os.environ.items() if not k.startswith(SECRETS)}
    base |= _variables(settings)
    if settings.workers > 1:
        threads = str(max(1, usable_cores() // settings.workers))
        base = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads} | base
    gpus = count_gpus() if settings.device == "auto" else 0
    one_each = [
        {"WSI_DEVICE": f"cuda:{i % gpus}"} if gpus > 1 else {} for i in range(settings.workers)
    ]
    return [base | own for own in one_each]


def _variables(settings: Settings) -> dict[str, str]:
    """Settings as the environment holds them, those that are not the defaults."""
    values = settings.model_dump(exclude_defaults=True)
    return {
        f"WSI_{name.upper()}": _text(value)
        for name, value in values.items()
        if not isinstance(value, SecretStr)
    }


def _text(value: Any) -> str:
    return ",".join(str(item) for item in value) if isinstance(value, tuple) else str(value)
