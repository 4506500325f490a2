"""What a reader process leaves behind: nothing, however it ends."""

import gc
import os
import resource
import select
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.errors import DecoderCrashed
from service.sandbox import open_in_sandbox
from service.sandbox.launcher import Launcher
from tests.service.sandbox.readers import (
    AT_THE_TRAP,
    HERE,
    REPOSITORY,
    is_alive,
    shared_mappings,
)


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
    open_in_sandbox(tiff).close()  # the server that readers are forked from stays
    gc.collect()  # what other tests left is not counted
    descriptors = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with open_in_sandbox(tiff) as slide, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: slide.read_level(0, HERE), range(32)))
        pid = slide.reader_pid
        assert is_alive(pid)
        assert shared_mappings() > 0
    assert not is_alive(pid)
    assert shared_mappings() == 0
    assert set(os.listdir("/proc/self/fd")) <= descriptors  # noqa: PTH208


def test_a_crash_leaves_no_process_descriptor_or_memory(hostile: Launcher, tiff: Path):
    with open_in_sandbox(tiff, launcher=hostile, reader="abort"):
        pass  # the fork server runs
    gc.collect()  # what other tests left is not counted
    descriptors = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with open_in_sandbox(tiff, launcher=hostile, reader="abort") as slide:
        slide.read_level(0, HERE)
        with pytest.raises(DecoderCrashed):
            slide.read_level(0, AT_THE_TRAP)
        assert not is_alive(slide.reader_pid)
    with pytest.raises(DecoderCrashed):
        open_in_sandbox(tiff, launcher=hostile, reader="open-abort")
    assert shared_mappings() == 0
    assert set(os.listdir("/proc/self/fd")) <= descriptors  # noqa: PTH208


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


MANY_OPEN = """
import os, resource, sys
from service.sandbox import open_in_sandbox
from wsi.geometry import Box
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
with open_in_sandbox(sys.argv[1]) as slide:
    print(slide.read_level(0, Box(0, 0, 9, 8)).shape)
"""


@pytest.mark.skipif(
    -1 < resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 1200, reason="so many may not be open"
)
def test_a_parent_of_many_connections_has_readers(tiff: Path):
    """select() takes no descriptor above 1,023, and the fork server is handed one of those."""
    done = subprocess.run(
        [sys.executable, "-c", MANY_OPEN, str(tiff)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        check=True,
    )
    assert done.stdout == "(8, 9, 3)\n"


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
