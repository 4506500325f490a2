"""The reader process: it reads what open_slide reads, and no fault of it reaches the parent."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from service.errors import DecoderCrashed, DecoderTimeout
from service.sandbox import SandboxedSlide, SandboxLimits, open_in_sandbox
from service.sandbox.launcher import Launcher
from service.worker.opener import NamelessSlide
from tests.service.hostile import SLOW_SPEECHES, SPEECHES, TRAP
from tests.wsi.readers.reader_contract import OpenSlide, ReaderContract
from tests.wsi.readers.tiffs import write_pyramid
from wsi.errors import CorruptSlide, InvalidOption, SlideNotFound, UnsupportedSlide
from wsi.geometry import Box
from wsi.readers import open_slide
from wsi.readers.base import read_shrunk

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENT = SandboxLimits(open_timeout_s=100.0, read_timeout_s=100.0)
HERE = Box(0, 0, 10, 10)
AT_THE_TRAP = Box(TRAP, 0, 10, 10)


@pytest.fixture(scope="module")
def hostile() -> Iterator[Launcher]:
    launcher = Launcher("tests.service.hostile:run", [REPOSITORY])
    yield launcher
    launcher.close()


@pytest.fixture
def tiff(tmp_path: Path) -> Path:
    write_pyramid(tmp_path / "a.tiff", [(403, 301), (201, 150), (100, 75)])
    return tmp_path / "a.tiff"


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


class TestSandboxed(ReaderContract):
    @pytest.fixture(params=["openslide", "tiffslide"])
    def open_it(self, tiff: Path, request: pytest.FixtureRequest) -> OpenSlide:
        return lambda: open_in_sandbox(tiff, reader=request.param)


@pytest.mark.real_data
class TestSandboxedReal(ReaderContract):
    @pytest.fixture(params=["CMU-1-Small-Region.svs", "bone-jpeg.dcm", "kidney-untiled-no-mpp.tif"])
    def open_it(self, real_data: Path, request: pytest.FixtureRequest) -> OpenSlide:
        return lambda: open_in_sandbox(real_data / "slides" / request.param)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "apply_icc"),
    [
        ("CMU-1-Small-Region.svs", False),
        ("tcga-cr-7395-jp2k-no-mpp.svs", True),
        ("tcga-cr-7395-jp2k-no-mpp.svs", False),
        ("camelyon-multiframe.dcm", False),
        ("boxes_0.dcm", False),
        ("highdicom-sm-image.dcm", False),
        ("yb10kx5k.zstd.tiff", False),
        ("orientation-3.tif", False),
        ("kidney-untiled-no-mpp.tif", False),
    ],
)
def test_real_slides_say_and_show_the_same_in_the_sandbox(
    real_data: Path, name: str, apply_icc: bool
):
    path = real_data / "slides" / name
    with (
        open_slide(path, apply_icc=apply_icc) as direct,
        open_in_sandbox(path, apply_icc=apply_icc) as boxed,
    ):
        assert boxed.info == direct.info
        for n, level in enumerate(direct.info.levels):
            box = Box(level.size.width // 3, level.size.height // 3, 600, 500)
            np.testing.assert_array_equal(boxed.read_level(n, box), direct.read_level(n, box))


def test_a_read_larger_than_one_answer_is_put_together(tiff: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("service.sandbox.slide.MAX_READ_BYTES", 100 * 100 * 3)
    monkeypatch.setattr("service.sandbox.slide.PART_PX", 64)
    with open_slide(tiff) as direct, open_in_sandbox(tiff) as boxed:
        box = Box(-5, 10, 300, 250)
        np.testing.assert_array_equal(boxed.read_level(0, box), direct.read_level(0, box))


@pytest.mark.parametrize(("box", "cell"), [
    (Box(0, 0, 256, 192), 4),  # whole native tiles
    (Box(31, 7, 60, 100), 4),  # cells that lie in two of them
    (Box(13, 1, 390, 300), 3),
    (Box(0, 0, 403, 301), 1),
])  # fmt: skip
@pytest.mark.parametrize("wrapped", [False, True], ids=["sandboxed", "nameless"])
@pytest.mark.parametrize("reader", ["tiff", "openslide"])
def test_a_box_is_shrunk_to_the_same_means_in_the_sandbox(
    tiff: Path, monkeypatch: pytest.MonkeyPatch, box: Box, cell: int, wrapped: bool, reader: str
):
    monkeypatch.setattr("service.sandbox.slide.PART_PX", 128)
    shape = (box.height // cell + 2, box.width // cell, 3)
    expected, sheet = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    with open_slide(tiff, reader=reader) as direct:
        read_shrunk(direct, 0, box, expected[1:-1])
    for most_bytes in (100 * 100 * 3, 128 << 20):  # in parts, and at once
        monkeypatch.setattr("service.sandbox.slide.MAX_READ_BYTES", most_bytes)
        with open_in_sandbox(tiff, reader=reader) as boxed:
            slide = NamelessSlide(boxed, "neutral") if wrapped else boxed
            read_shrunk(slide, 0, box, sheet[1:-1])
        np.testing.assert_array_equal(sheet, expected)
    assert expected.any()


@pytest.mark.parametrize("wrapped", [False, True], ids=["sandboxed", "nameless"])
def test_only_the_means_come_out_of_the_sandbox(tmp_path: Path, wrapped: bool):
    write_pyramid(tmp_path / "a.tiff", [(1024, 1024)])
    with open_in_sandbox(tmp_path / "a.tiff", reader="tiff") as boxed:
        slide = NamelessSlide(boxed, "neutral") if wrapped else boxed
        read_shrunk(slide, 0, Box(0, 0, 1024, 1024), np.empty((64, 64, 3), np.uint8))
        assert shared_bytes() == 256 << 10  # the least; the pixels would be 3 MiB


def test_what_is_not_inside_the_level_is_not_shrunk_in_the_sandbox(tiff: Path):
    out = np.empty((8, 8, 3), np.uint8)
    with (
        open_in_sandbox(tiff) as boxed,
        pytest.raises(InvalidOption, match="not inside level 0"),
    ):
        read_shrunk(boxed, 0, Box(400, 0, 16, 16), out)


def test_a_relative_path_is_read_and_named_as_it_was_given(
    tiff: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tiff.parent)
    with open_slide("a.tiff") as direct, open_in_sandbox("a.tiff") as boxed:
        assert boxed.info == direct.info
        np.testing.assert_array_equal(boxed.read_level(1, HERE), direct.read_level(1, HERE))


def test_a_link_to_a_slide_elsewhere_is_followed(tiff: Path, tmp_path: Path):
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "b.tiff"
    link.symlink_to(tiff)
    with open_in_sandbox(link) as boxed:
        assert boxed.info.files == (link,)
        assert boxed.read_level(0, HERE).shape == (10, 10, 3)


@pytest.mark.parametrize("path", ["/no/such.svs", "/etc/passwd/a.svs", "a\0b.svs", "x" * 300])
def test_a_path_without_a_file_is_said_as_ever(path: str):
    with pytest.raises(SlideNotFound) as direct:
        open_slide(path)
    with pytest.raises(SlideNotFound) as boxed:
        open_in_sandbox(path)
    assert str(boxed.value) == str(direct.value).replace("\0", " ")


@pytest.mark.real_data
@pytest.mark.parametrize(
    "name", ["not-a-tiff.svs", "zero-height.tif", "fluorescence.czi", "dicom-label-only.dcm"]
)
def test_errors_of_opening_come_as_they_are(real_data: Path, name: str):
    path = real_data / "malformed" / name
    with pytest.raises((UnsupportedSlide, CorruptSlide)) as direct:
        open_slide(path)
    with pytest.raises(type(direct.value)) as boxed:
        open_in_sandbox(path)
    assert str(boxed.value) == str(direct.value)


@pytest.mark.real_data
def test_an_error_of_reading_comes_as_it_is_and_is_no_crash(real_data: Path):
    path = real_data / "malformed" / "unreadable.svs"
    with open_slide(path) as direct, open_in_sandbox(path) as boxed:
        with pytest.raises(CorruptSlide) as expected:
            direct.read_level(0, HERE)
        with pytest.raises(CorruptSlide) as caught:
            boxed.read_level(0, HERE)
        assert str(caught.value) == str(expected.value)
        assert boxed.failure is None


def test_wrong_options_are_refused_as_ever(tiff: Path):
    with pytest.raises(InvalidOption, match="'bio' is unknown"):
        open_in_sandbox(tiff, reader="bio")
    with pytest.raises(InvalidOption, match="800"):
        open_in_sandbox(tiff, mpp=800)
    with pytest.raises(UnsupportedSlide, match="no network"):
        open_in_sandbox("https://host/a.svs")


def test_the_callers_resolution_counts(tiff: Path):
    with open_in_sandbox(tiff, mpp=(0.25, 0.3)) as boxed:
        assert boxed.info.mpp == (0.25, 0.3)
        assert boxed.info.mpp_source == "caller"


@pytest.mark.parametrize(
    ("deed", "reason"),
    [
        ("abort", "SIGABRT"),
        ("violate-memory", "SIGSEGV"),
        ("leave", "exit code 3"),
        ("exhaust", "more than 4096 MiB of memory"),
        ("exhaust-wrapped", "more than 4096 MiB of memory"),
        ("stumble", "KeyError: 'no such tag'"),
    ],
)
def test_a_decoder_that_dies_is_an_error_now_and_from_then_on(
    hostile: Launcher, tiff: Path, deed: str, reason: str
):
    with pytest.raises(DecoderCrashed, match=reason):
        open_in_sandbox(tiff, reader=f"open-{deed}", launcher=hostile, limits=PATIENT)
    with open_in_sandbox(tiff, reader=deed, launcher=hostile, limits=PATIENT) as slide:
        assert (slide.read_level(0, HERE) == 9).all()
        with pytest.raises(DecoderCrashed, match=reason) as first:
            slide.read_level(0, AT_THE_TRAP)
        assert str(first.value).startswith(f"{tiff}: ")
        assert_it_stays_failed(slide, first.value)


@pytest.mark.parametrize("deed", ["hang", "spin"])
def test_a_decoder_that_does_not_answer_is_ended(hostile: Launcher, tiff: Path, deed: str):
    soon = SandboxLimits(open_timeout_s=0.2)
    with pytest.raises(DecoderTimeout, match=r"within 0.2 s and was ended"):
        open_in_sandbox(tiff, reader=f"open-{deed}", launcher=hostile, limits=soon)
    soon = SandboxLimits(open_timeout_s=100, read_timeout_s=0.2)
    with open_in_sandbox(tiff, reader=deed, launcher=hostile, limits=soon) as slide:
        with pytest.raises(DecoderTimeout, match=r"within 0.2 s and was ended") as first:
            slide.read_level(0, AT_THE_TRAP)
        assert_it_stays_failed(slide, first.value)


def assert_it_stays_failed(slide: SandboxedSlide, error: Exception) -> None:
    assert not is_alive(slide.reader_pid)
    with pytest.raises(type(error)) as again:
        slide.read_level(0, HERE)
    assert str(again.value) == str(error)
    assert type(slide.failure) is type(error)


def test_processor_time_is_limited(hostile: Launcher, tiff: Path):
    limits = SandboxLimits(cpu_s=1, read_timeout_s=100.0)
    with (
        open_in_sandbox(tiff, reader="spin", launcher=hostile, limits=limits) as slide,
        pytest.raises(DecoderCrashed, match="SIGXCPU"),
    ):
        slide.read_level(0, AT_THE_TRAP)


def test_an_error_in_the_process_is_one_short_line(hostile: Launcher, tiff: Path):
    with pytest.raises(CorruptSlide) as caught:
        open_in_sandbox(tiff, reader="open-refuse", launcher=hostile)
    assert str(caught.value).startswith(f"{tiff}: refused, by [31m long long")
    assert len(str(caught.value)) <= 2000
    assert str(caught.value).isprintable()


def test_when_one_read_kills_it_all_other_reads_end_too(hostile: Launcher, tiff: Path):
    with (
        open_in_sandbox(tiff, reader="hang", launcher=hostile, limits=PATIENT) as slide,
        ThreadPoolExecutor(8) as pool,
    ):
        hanging = [pool.submit(slide.read_level, 0, AT_THE_TRAP) for _ in range(8)]
        os.kill(slide.reader_pid, signal.SIGKILL)
        for read in hanging:
            with pytest.raises(DecoderCrashed, match="SIGKILL"):
                read.result(timeout=60)


@pytest.mark.parametrize("speech", [name for name in SPEECHES if name not in SLOW_SPEECHES])
def test_nonsense_instead_of_a_slide_is_a_crash(hostile: Launcher, tiff: Path, speech: str):
    with pytest.raises(DecoderCrashed, match="no valid answer"):
        open_in_sandbox(tiff, reader=speech, launcher=hostile, limits=PATIENT)


@pytest.mark.parametrize("speech", SLOW_SPEECHES)
def test_an_answer_without_an_end_is_waited_for_no_longer(
    hostile: Launcher, tiff: Path, speech: str
):
    soon = SandboxLimits(open_timeout_s=0.2)
    with pytest.raises(DecoderTimeout):
        open_in_sandbox(tiff, reader=speech, launcher=hostile, limits=soon)


@pytest.mark.parametrize(
    "answer",
    [
        "answer-other-id",
        "answer-text-id",
        "answer-larger",
        "answer-more-bytes",
        "answer-negative",
        "answer-extra",
        "answer-zeros",
        "answer-long",
        "answer-goodbye",
    ],
)
def test_nonsense_instead_of_pixels_is_a_crash(hostile: Launcher, tiff: Path, answer: str):
    with open_in_sandbox(tiff, reader=answer, launcher=hostile, limits=PATIENT) as slide:
        with pytest.raises(DecoderCrashed):
            slide.read_level(0, HERE)
        assert not is_alive(slide.reader_pid)


def test_the_process_cannot_take_the_shared_memory_away(hostile: Launcher, tiff: Path):
    """Its size is sealed; this child has no filter over its system calls."""
    with open_in_sandbox(tiff, reader="answer-shrunk", launcher=hostile) as slide:
        assert slide.read_level(0, HERE).shape == (10, 10, 3)


def test_a_reader_that_died_leaves_no_descriptor(tiff: Path):
    """The first read after its death makes a connection that nobody takes."""
    open_in_sandbox(tiff).close()  # the server that readers are forked from stays
    descriptors = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    failures: list[BaseException] = []  # whose traces hold on to what was not closed
    slide = open_in_sandbox(tiff)
    ending = os.pidfd_open(slide.reader_pid)
    os.kill(slide.reader_pid, signal.SIGKILL)
    select.select([ending], [], [])
    os.close(ending)
    try:
        slide.read_level(0, HERE)
    except DecoderCrashed as error:
        failures.append(error)
    slide.close()
    assert len(failures) == 1
    assert set(os.listdir("/proc/self/fd")) <= descriptors  # noqa: PTH208


def test_closing_leaves_no_process_descriptor_or_memory(tiff: Path):
    descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with open_in_sandbox(tiff) as slide, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: slide.read_level(0, HERE), range(32)))
        pid = slide.reader_pid
        assert is_alive(pid)
        assert shared_mappings() > 0
    assert not is_alive(pid)
    assert shared_mappings() == 0
    assert len(os.listdir("/proc/self/fd")) == descriptors  # noqa: PTH208


def test_a_crash_leaves_no_process_descriptor_or_memory(hostile: Launcher, tiff: Path):
    with open_in_sandbox(tiff, launcher=hostile, reader="abort"):
        pass  # the fork server runs
    descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with open_in_sandbox(tiff, launcher=hostile, reader="abort") as slide:
        slide.read_level(0, HERE)
        with pytest.raises(DecoderCrashed):
            slide.read_level(0, AT_THE_TRAP)
        assert not is_alive(slide.reader_pid)
    with pytest.raises(DecoderCrashed):
        open_in_sandbox(tiff, launcher=hostile, reader="open-abort")
    assert shared_mappings() == 0
    assert len(os.listdir("/proc/self/fd")) == descriptors  # noqa: PTH208


def test_a_slide_that_is_forgotten_is_ended(tiff: Path):
    pid = open_in_sandbox(tiff).reader_pid
    assert not is_alive(pid)


def test_a_fork_server_that_died_is_started_again(tiff: Path):
    launcher = Launcher()
    with open_in_sandbox(tiff, launcher=launcher) as orphan:
        orphan.read_level(0, HERE)
        first = launcher.server_pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        with open_in_sandbox(tiff, launcher=launcher) as slide:
            assert slide.read_level(0, HERE).shape == (10, 10, 3)
            assert launcher.server_pid != first
            with pytest.raises(DecoderCrashed):
                orphan.read_level(0, HERE)
    launcher.close()


PARENT = """
import sys, time
from service.sandbox.launcher import shared_launcher
from service.sandbox import open_in_sandbox
from wsi.geometry import Box
slide = open_in_sandbox(sys.argv[1])
slide.read_level(0, Box(0, 0, 9, 9))
print(slide.reader_pid, shared_launcher().server_pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="parent-death signals are Linux's")
def test_when_the_parent_is_killed_its_readers_end(tiff: Path):
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tiff)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    ) as parent:
        assert parent.stdout is not None
        watched = [os.pidfd_open(int(pid)) for pid in parent.stdout.readline().split()]
        parent.kill()
    assert len(watched) == 2
    for fd in watched:
        ended, _, _ = select.select([fd], [], [], 60)
        os.close(fd)
        assert ended


def test_the_parent_loads_no_decoder(tiff: Path):
    code = (
        "import sys; from service.sandbox import open_in_sandbox, probe_sandbox\n"
        "from service.reader_pool import ReaderPool\n"
        "from wsi.geometry import Box\n"
        "with open_in_sandbox(sys.argv[1]) as slide: slide.read_level(0, Box(0, 0, 9, 9))\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiff)],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
    )
    decoders = {"torch", "openslide", "tiffslide", "tifffile", "imagecodecs", "PIL", "pydicom"}
    assert set(done.stdout.split()) & (decoders | {"zarr", "cv2", "scipy"}) == set()


def test_a_forked_process_starts_a_fork_server_of_its_own(tiff: Path):
    code = (
        "import os, sys; from service.sandbox import open_in_sandbox\n"
        "from service.sandbox.launcher import shared_launcher\n"
        "from wsi.geometry import Box\n"
        "slide = open_in_sandbox(sys.argv[1])\n"
        "ours = shared_launcher().server_pid\n"
        "if os.fork() == 0:\n"
        "    with open_in_sandbox(sys.argv[1]) as own: own.read_level(0, Box(0, 0, 9, 9))\n"
        "    different = shared_launcher().server_pid != ours\n"
        "    shared_launcher().close()\n"
        "    os._exit(0 if different else 1)\n"
        "assert os.wait()[1] == 0\n"
        "assert slide.read_level(0, Box(0, 0, 9, 9)).shape == (9, 9, 3)\n"
        "slide.close()"
    )
    subprocess.run([sys.executable, "-c", code, str(tiff)], check=True, cwd=REPOSITORY)
