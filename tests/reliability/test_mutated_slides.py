"""R6: a damaged slide ends in pixels or in a clear error, and in nothing else."""

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from service.errors import DecoderCrashed, DecoderTimeout
from service.sandbox import SandboxLimits, open_in_sandbox
from service.sandbox.launcher import Launcher
from tests.reliability.report import SEED, report
from tests.reliability.slides import SLIDES, mutate
from wsi.errors import WsiError
from wsi.geometry import Box
from wsi.slide import Slide

pytestmark = [pytest.mark.slow, pytest.mark.reliability, pytest.mark.timeout(3600)]

TRIALS = int(os.environ.get("WSI_RELIABILITY_SLIDES", "500"))
BAR_S = 30.0
LIMITS = SandboxLimits(memory_bytes=2 << 30, open_timeout_s=10, read_timeout_s=10)


@pytest.fixture
def launcher() -> Iterator[Launcher]:
    launcher = Launcher()
    yield launcher
    launcher.close()


@pytest.fixture
def originals(tmp_path: Path) -> dict[str, bytes]:
    """All of them are read whole before any is damaged."""
    contents = {}
    for name, write in SLIDES.items():
        write(tmp_path / name)
        contents[name] = (tmp_path / name).read_bytes()
        with open_in_sandbox(tmp_path / name) as slide:
            read_all(slide)
        (tmp_path / name).unlink()
    return contents


def read_all(slide: Slide) -> None:
    for n, level in enumerate(slide.info.levels):
        size = level.size
        boxes = [Box(0, 0, *size)] if max(size) <= 1024 else corners(*size)
        for box in boxes:
            assert slide.read_level(n, box).shape == (box.height, box.width, 3)


def corners(width: int, height: int) -> list[Box]:
    return [
        Box(x, y, 300, 300)
        for x in (0, width // 2, width - 300)
        for y in (0, height // 2, height - 300)
    ]


def outcome(path: Path, launcher: Launcher) -> str:
    try:
        with open_in_sandbox(path, launcher=launcher, limits=LIMITS) as slide:
            read_all(slide)
    except WsiError as error:
        return "refused" if str(error).startswith(f"{path}: ") else f"unclear: {error}"
    except DecoderCrashed as error:
        return "decoder-crashed" if "no valid answer" not in str(error) else f"unclear: {error}"
    except DecoderTimeout:
        return "decoder-timeout"
    except Exception as error:  # whatever else is what is looked for here
        return f"unclear: {error!r}"
    return "read"


def test_mutated_slides_end_in_pixels_or_a_clear_error(
    tmp_path: Path, launcher: Launcher, originals: dict[str, bytes]
):
    random = np.random.default_rng(SEED)
    outcomes: Counter[str] = Counter()
    failed, slowest_s, server = [], 0.0, None
    for trial in range(TRIALS):
        name = list(originals)[trial % len(originals)]
        folder = tmp_path / "trial"
        folder.mkdir()
        path = folder / name
        path.write_bytes(mutate(originals[name], random))
        began = time.perf_counter()
        end = outcome(path, launcher)
        slowest_s = max(slowest_s, time.perf_counter() - began)
        server = server or launcher.server_pid
        if end.startswith("unclear") or launcher.server_pid != server:
            failed.append(f"trial {trial}, {name}: {end}")
        outcomes[end.partition(":")[0]] += 1
        path.unlink()
        folder.rmdir()
    report(
        "R6",
        TRIALS,
        len(failed),
        **outcomes,
        slowest_s=round(slowest_s, 2),
        slowest_s_bar=BAR_S,
    )
    assert failed == []
    assert outcomes["read"] > 0
    assert outcomes["refused"] > 0
