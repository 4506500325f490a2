"""Reader processes seen from outside."""

from pathlib import Path

from service.sandbox import SandboxLimits
from tests.service.hostile import TRAP
from wsi.geometry import Box

__all__ = [
    "AT_THE_TRAP", "HERE", "PATIENT", "REPOSITORY", "is_alive", "shared_bytes", "shared_mappings"
]  # fmt: skip

REPOSITORY = Path(__file__).resolve().parents[3]
PATIENT = SandboxLimits(open_timeout_s=100.0, read_timeout_s=100.0)
HERE = Box(0, 0, 10, 10)
AT_THE_TRAP = Box(TRAP, 0, 10, 10)


def is_alive(pid: int) -> bool:
    """A zombie is still there."""
    return Path(f"/proc/{pid}").exists()


def shared_mappings() -> int:
    return Path("/proc/self/maps").read_text().count("wsi-pixels")


def shared_bytes() -> int:
    """Of all that this process shares with readers now."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    spans = [line.split()[0].split("-") for line in lines if "wsi-pixels" in line]
    return sum(int(stop, 16) - int(start, 16) for start, stop in spans)
