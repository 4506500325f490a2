"""R7, the reader's part: bombs are refused by their headers, in little time and memory."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.sandbox import open_in_sandbox, probe_sandbox
from service.sandbox.launcher import Ended, Launcher, Started
from tests.reliability.bombs import BOMBS, laughs, ome, outside_entity
from tests.reliability.report import report
from wsi.errors import WsiError
from wsi.geometry import Box

pytestmark = [pytest.mark.slow, pytest.mark.reliability]

BAR_S = 1.0
BAR_BYTES = 512 << 20


class Recorder(Launcher):
    """Keeps what each reader process used."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[Ended] = []

    def end(self, started: Started, *, wait_s: float = 0.0) -> Ended:
        self.ends.append(super().end(started, wait_s=wait_s))
        return self.ends[-1]


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    probe_sandbox(recorder)  # the fork server runs
    yield recorder
    recorder.close()


def listing(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_bombs_are_refused_in_little_memory(tmp_path: Path, recorder: Recorder):
    failures, times_s = [], {}
    for name, write in BOMBS.items():
        folder = tmp_path / name
        folder.mkdir()
        path = write(folder)
        before = listing(tmp_path)
        began = time.perf_counter()
        with pytest.raises(Exception) as caught:  # noqa: PT011
            open_in_sandbox(path, launcher=recorder).close()
        times_s[name] = time.perf_counter() - began
        peak = recorder.ends[-1].peak_bytes
        error = caught.value
        if not isinstance(error, WsiError) or not 0 < peak < BAR_BYTES:
            failures.append(f"{name}: {peak >> 20} MiB, {error!r}")
        if listing(tmp_path) != before:
            failures.append(f"{name}: something was written")
    slowest = max(times_s, key=lambda name: times_s[name])
    report(
        "R7-readers",
        len(BOMBS),
        len(failures),
        slowest=slowest,
        slowest_s=round(times_s[slowest], 2),
        slowest_s_bar=BAR_S,
        peak_mib=max(end.peak_bytes for end in recorder.ends) >> 20,
        peak_mib_bar=BAR_BYTES >> 20,
    )
    assert failures == []


HOSTILE_XML = {
    "a billion laughs": laughs(),
    "a file of the system": outside_entity(),
    "20 MiB": b"<OME>" + b" " * (20 << 20) + b"</OME>",
}


@pytest.mark.parametrize("kind", HOSTILE_XML)
def test_hostile_descriptions_are_not_expanded(tmp_path: Path, recorder: Recorder, kind: str):
    """Their pixels are honest, so a slide may be shown or refused."""
    path = ome(tmp_path / "a.ome.tif", HOSTILE_XML[kind])
    try:
        with open_in_sandbox(path, launcher=recorder) as slide:
            said = repr(slide.info)
            assert (slide.read_level(0, Box(0, 0, 64, 64)) == 0).all()
    except WsiError as error:
        said = str(error)
    assert "root:" not in said
    assert "hahaha" not in said
    assert 0 < recorder.ends[-1].peak_bytes < BAR_BYTES
