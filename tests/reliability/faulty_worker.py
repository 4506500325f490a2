"""A worker that ends where a test says: `-m tests.reliability.faulty_worker [--fault NAME:N]`.

It is the real supervisor and the real runner. Only here does something happen at their fault
points: the Nth passing of NAME ends the process (os._exit), and `--trace` keeps a line of each.
"""

import argparse
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType

from service.settings import Settings
from service.worker.faults import FAULT_POINTS, Fault
from tests.service.worker.workshop import SlidesInFolders, make_queue

KILLED = 86


def make_fault(name: str | None, number: int, trace: Path | None) -> Fault:
    seen: Counter[str] = Counter()

    def pass_by(point: str) -> None:
        assert point in FAULT_POINTS, point
        seen[point] += 1
        if trace is not None:
            with trace.open("a") as file:
                file.write(f"{os.getpid()} {time.time():.3f} {point}\n")
        if point == name and seen[point] == number:
            os._exit(KILLED)

    return pass_by


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", default=":1")
    parser.add_argument("--trace", type=Path)
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--parent", type=int)  # given to the runner
    options = parser.parse_args()
    name, _, number = options.fault.partition(":")
    fault = make_fault(name or None, int(number), options.trace)
    if options.parent is not None:
        run_runner(options.parent, fault)
    else:
        run_supervisor(options.fault, options.trace, options.once, fault)


def run_runner(parent: int, fault: Fault) -> None:
    from service.worker.runner import serve

    serve(["--parent", str(parent)], fault)


def run_supervisor(fault_option: str, trace: Path | None, once: bool, fault: Fault) -> None:
    from service.worker.supervisor import Supervisor

    settings = Settings()
    command = [sys.executable, "-m", "tests.reliability.faulty_worker", "--fault", fault_option]
    supervisor = Supervisor(
        settings,
        make_queue(settings),
        SlidesInFolders(settings.data),
        worker_id=f"faulty-{os.getpid()}",
        command=[*command, *(["--trace", str(trace)] if trace else [])],
        fault=fault,
        retry_s=0.1,
    )

    def stop(number: int, frame: FrameType | None) -> None:
        supervisor.stop()

    signal.signal(signal.SIGTERM, stop)
    supervisor.run(until_empty=once)


if __name__ == "__main__":
    main()
