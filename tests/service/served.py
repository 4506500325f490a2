"""`wsi serve` as a process, for tests."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.service.painted import write_model

__all__ = ["LIMIT_S", "Served", "children_of", "is_alive", "wait_for"]

LIMIT_S = 60
COMMAND = (sys.executable, "-c", "from service.cli import main; main()")
ROOT = Path(__file__).resolve().parents[2]


def wait_for(is_there: Callable[[], Any]) -> Any:
    until = time.monotonic() + LIMIT_S
    while not (found := is_there()):
        assert time.monotonic() < until
        time.sleep(0.02)
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children_of(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended since
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


class Served:
    """`wsi serve` on a port of its own, with a model that needs no torch.

    settings: CORS_ORIGINS="http://a.test" and so on, without WSI_.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        quick = {"LEASE_S": "2", "HEARTBEAT_S": "0.2", "POLL_S": "0.05", "SHUTDOWN_S": "10"}
        model = write_model(folder / "model", 16, 0.5)
        quick |= {"MODEL": model, "SANDBOX": "off", "DATA": str(folder / "data"), **settings}
        self.process = subprocess.Popen(
            [*COMMAND, "serve", "--port", "0"],
            cwd=ROOT,
            env=os.environ | {f"WSI_{name}": value for name, value in quick.items()},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        self.url = self.line.split()[0]

    def workers(self) -> list[int]:
        return children_of(self.process.pid)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
