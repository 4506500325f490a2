"""What a measurement needs beside its figures to be made again: where, with what, when, how."""

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from wsi.cores import usable_cores

__all__ = ["circumstances", "rounded", "write_record"]

PACKAGES = ("wsi-heatmap", "numpy", "torch", "torchvision", "imagecodecs", "simplejpeg",
            "openslide-bin", "opencv-python-headless", "zarr")  # fmt: skip


def circumstances() -> dict[str, Any]:
    """Machine, versions, commit, date and command of this process."""
    return {
        "command": " ".join(["python -m", _module(), *map(_unrooted, sys.argv[1:])]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": _machine(),
        "versions": {"python": platform.python_version()}
        | {name: metadata.version(name) for name in PACKAGES},
    }


def write_record(path: Path, results: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(circumstances() | rounded(results), indent=1) + "\n", "utf-8")


def rounded(value: Any) -> Any:
    """JSON with five digits of each number that is not whole: no clock knows more."""
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def _module() -> str:
    spec = sys.modules["__main__"].__spec__
    return spec.name.removesuffix(".__main__") if spec else Path(sys.argv[0]).stem


def _unrooted(argument: str) -> str:
    """A path of this machine tells others nothing but where we keep things."""
    return Path(argument).name if Path(argument).is_absolute() else argument


def _machine() -> dict[str, Any]:
    return {
        "processor": _cpu_name(),
        "cores": usable_cores(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.system(),
    }


def _cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def _commit() -> str:
    """With a + where code was changed since."""
    code = ["wsi", "models", "service", "benchmarks", ":!benchmarks/results"]
    found = _git("rev-parse", "--short=10", "HEAD")
    if found.returncode:
        return "unknown"
    changed = _git("diff", "--quiet", "HEAD", "--", *code).returncode
    return found.stdout.strip() + ("+" if changed else "")


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[1]
    return subprocess.run(
        ["git", *arguments], cwd=root, check=False, capture_output=True, text=True
    )
