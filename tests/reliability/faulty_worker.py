"""A worker to which something happens where a test says: `-m tests.reliability.faulty_worker`.

It is the real supervisor and the real runner; only here does anything happen at their fault points.
`--fault NAME:N` means the Nth passing of NAME, `--marker FILE` that it happens once for all
processes, `--trace FILE` keeps a line of each passing.
"""

import argparse
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType

from service.settings import Settings
from service.worker.faults import FAULT_POINTS, Fault
from tests.service.worker.workshop import SlidesInFolders, make_queue

KILLED = 86


def end(options: argparse.Namespace) -> None:
    os._exit(KILLED)


def raise_error(options: argparse.Namespace) -> None:
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


def fill_disk(options: argparse.Namespace) -> None:
    """To the last byte that a plain file can have."""
    with options.ballast.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            with suppress(OSError):
                while True:
                    file.write(b"\0" * size)


HAPPENINGS: Mapping[str, Callable[[argparse.Namespace], None]] = {
    "end": end,
    "raise": raise_error,
    "fill-disk": fill_disk,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", default=":1")
    parser.add_argument("--happening", choices=HAPPENINGS, default="end")
    parser.add_argument("--marker", type=Path)
    parser.add_argument("--ballast", type=Path)  # the file that fills a disk
    parser.add_argument("--trace", type=Path)
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--parent", type=int)  # given to the runner
    options = parser.parse_args()
    run_supervisor(options) if options.parent is None else run_runner(options)


def run_runner(options: argparse.Namespace) -> None:
    from service.worker.runner import serve

    serve(["--parent", str(options.parent)], make_fault(options))


def run_supervisor(options: argparse.Namespace) -> None:
    from service.worker.supervisor import Supervisor

    settings = Settings()
    supervisor = Supervisor(
        settings,
        make_queue(settings),
        SlidesInFolders(settings.data, settings.disk_floor_bytes),
        worker_id=f"faulty-{os.getpid()}",
        command=[sys.executable, "-m", "tests.reliability.faulty_worker", *sys.argv[1:]],
        fault=make_fault(options),
        retry_s=0.1,
    )

    def stop(number: int, frame: FrameType | None) -> None:
        supervisor.stop()

    signal.signal(signal.SIGTERM, stop)
    supervisor.run(until_empty=options.once)


def make_fault(options: argparse.Namespace) -> Fault:
    name, _, number = options.fault.partition(":")
    seen: Counter[str] = Counter()

    def pass_by(point: str) -> None:
        assert point in FAULT_POINTS, point
        seen[point] += 1
        if options.trace is not None:
            with options.trace.open("a") as file:
                file.write(f"{os.getpid()} {time.time():.3f} {point}\n")
        if point == name and seen[point] == int(number) and is_first(options.marker):
            HAPPENINGS[options.happening](options)

    return pass_by


def is_first(marker: Path | None) -> bool:
    """Whether nobody was here before."""
    if marker is None:
        return True
    try:
        marker.open("x").close()
    except FileExistsError:
        return False
    return True


if __name__ == "__main__":
    main()
