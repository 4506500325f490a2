"""How often something was tried, how often it failed, and what that proves."""

import json
import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path

__all__ = ["LINES", "SEED", "bound", "report", "size"]

CONFIDENCE = 0.95
ROOT = Path(__file__).resolve().parents[2]
SEED = int(os.environ.get("WSI_RELIABILITY_SEED", "20261"))
"""Of what the tests here choose at random; another one by WSI_RELIABILITY_SEED."""

LINES: list[str] = []
"""What was reported by this process, for the end of pytest's output."""


def bound(trials: int, failures: int) -> float:
    """One-sided 95 % upper bound (Clopper-Pearson) of the probability of a failure.

    Without failures it is 1 - 0.05^(1/trials), nearly 3/trials: the rule of three.
    """
    from scipy.stats import beta

    if failures >= trials:
        return 1.0
    return float(beta.ppf(CONFIDENCE, failures + 1, trials - failures))


def size(quick: int, full: int) -> int:
    """How much to try: `full` where WSI_RELIABILITY is "full", else `quick`."""
    return full if os.environ.get("WSI_RELIABILITY") == "full" else quick


def report(id: str, trials: int, failures: int, **figures: object) -> None:
    """Prints one line, and appends it to `reliability.json`.

    `figures`: what else was measured (JSON values); a bar that is not asserted stands beside its
    figure: claims_per_s=1900, claims_per_s_bar=500. The folder is WSI_RELIABILITY_OUT, or
    `wsi-reliability` among the temporary files.
    """
    entry = {
        "id": id,
        "trials": trials,
        "failures": failures,
        "upper_bound_95": round(bound(trials, failures), 6),
        "commit": commit(),
        "seed": SEED,
        **figures,
    }
    line = " ".join(f"{name}={value}" for name, value in entry.items())
    LINES.append(line)
    print(line)
    _append(_folder() / "reliability.json", entry)


@cache
def commit() -> str:
    """Of the working tree; with a + where files differ from it, `unknown` where there is no git."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--exclude=*", "--dirty=+"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _folder() -> Path:
    default = Path(tempfile.gettempdir()) / "wsi-reliability"
    folder = Path(os.environ.get("WSI_RELIABILITY_OUT", default))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _append(path: Path, entry: dict[str, object]) -> None:
    entries = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps([*entries, entry], indent=1) + "\n", encoding="utf-8")
    partial.replace(path)
