"""The real API in a process of its own, without workers."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Served", "serve_api"]

START = (
    "from service.settings import Settings; from service.server import serve; "
    "serve(Settings(), lambda url: print(url, flush=True))"
)


@dataclass(frozen=True)
class Served:
    url: str
    pid: int

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def peak_rss_bytes(self) -> int:
        """The largest that was in memory so far."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmHWM:\s*(\d+) kB", status)
        assert found
        return int(found[1]) << 10


@contextmanager
def serve_api(data: Path, **settings: object) -> Iterator[Served]:
    """`settings` as in service.settings, for example max_uploads=64."""
    options = {"data": data, "port": 0, "workers": 0, "log_level": "ERROR", **settings}
    environment = os.environ | {f"WSI_{k.upper()}": str(v) for k, v in options.items()}
    process = subprocess.Popen(
        [sys.executable, "-c", START], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        assert url, "the API did not start"
        yield Served(url, process.pid)
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()
