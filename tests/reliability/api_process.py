"""The API in a process of its own, as an operator runs it: its memory, its answers, its end."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

__all__ = ["ApiProcess", "api_process"]

START_S = 60
MIB = 1 << 20


@dataclass
class ApiProcess:
    url: str
    data: Path
    process: subprocess.Popen[str]

    @property
    def peak_rss_mib(self) -> float:
        """The most resident memory since it began, or since reset_peak()."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found is not None
        return int(found.group(1)) / 1024

    def reset_peak(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def api_process(data: Path, **settings: Any) -> Iterator[ApiProcess]:
    """`wsi serve` without a worker. settings: of service.settings, in lower case."""
    given = {"workers": 0, "disk_floor_bytes": 0, "port": 0, "log_level": "ERROR", **settings}
    environment = {**os.environ, "WSI_DATA": str(data)}
    environment |= {f"WSI_{name.upper()}": str(value) for name, value in given.items()}
    code = "from service.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "serve"], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[0]
        yield ApiProcess(url, data, process)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(START_S)
        if process.stdout is not None:
            process.stdout.close()


def wait_until(condition: Any, timeout_s: float = START_S) -> None:
    """Polls what nobody announces."""
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


def get_json(client: httpx.Client, url: str) -> Any:
    answer = client.get(url)
    answer.raise_for_status()
    return answer.json()
