"""What a reader process cannot do, tried from inside one; and the locks one by one."""

import json
import os
import platform
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.sandbox import SandboxMode, open_in_sandbox, probe_sandbox
from service.sandbox.landlock import landlock_abi
from service.sandbox.launcher import Launcher
from service.sandbox.seccomp import NUMBERS, build_filter
from tests.wsi.readers.tiffs import write_pyramid
from wsi.errors import UnsupportedSlide

REPOSITORY = Path(__file__).resolve().parents[3]
REFUSED = {"EPERM", "EACCES"}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the locks are Linux's")


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    """Started by a process that knows a secret."""
    os.environ["WSI_SECRET_KEY"] = "tell-nobody"
    launcher = Launcher("tests.service.hostile:run", [REPOSITORY])
    yield launcher
    launcher.close()
    del os.environ["WSI_SECRET_KEY"]


@pytest.fixture(scope="module")
def mode() -> SandboxMode:
    return probe_sandbox()


@pytest.fixture(scope="module")
def outcomes(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Deed to the error's name, or `done: …`."""
    folder = tmp_path_factory.mktemp("slides")
    write_pyramid(folder / "a.tiff", [(100, 80)])
    before = (folder / "a.tiff").read_bytes()
    (folder / "neighbour.txt").write_text("another's")
    with pytest.raises(UnsupportedSlide) as told:
        open_in_sandbox(folder / "a.tiff", reader="attempt", launcher=launcher)
    assert (folder / "a.tiff").read_bytes() == before
    assert {path.name for path in folder.iterdir()} == {"a.tiff", "neighbour.txt"}
    answers: dict[str, str] = json.loads(str(told.value))
    return answers


def test_the_environment_holds_no_secret(outcomes: dict[str, str], launcher: Launcher):
    assert outcomes["look into the environment"] == "done: (True, [])"
    environment = Path(f"/proc/{launcher.server_pid}/environ").read_bytes()
    assert b"PATH=" in environment
    assert b"WSI_" not in environment


@pytest.mark.parametrize(
    "deed",
    [
        "read a neighbour",
        "read outside",
        "list the folder",
        "read the parent's environment",
    ],
)
def test_it_reads_nothing_but_its_slide(outcomes: dict[str, str], mode: SandboxMode, deed: str):
    if not mode.landlock:
        pytest.skip("this kernel has no Landlock, or it is not enabled")
    assert outcomes[deed] in REFUSED


@pytest.mark.parametrize(
    "deed",
    [
        "write a new file",
        "write to the slide",
        "write to /dev/shm",
        "truncate the slide",
        "remove the slide",
        "rename the slide",
        "make a link",
        "change the mode",
        "make an internet socket",
        "make a local socket",
        "make a datagram pair",
        "run a program",
        "fork",
        "signal the parent",
        "signal init",
        "make memory",
        "raise a limit",
        "use io_uring",
        "enter a namespace",
        "trace the parent",
    ],
)
def test_it_writes_sends_and_starts_nothing(outcomes: dict[str, str], mode: SandboxMode, deed: str):
    if not mode.seccomp:
        pytest.skip(f"no filter of system calls for {platform.machine()}")
    assert outcomes[deed] in REFUSED


def test_with_all_locks_nothing_but_looking_around_is_done(
    outcomes: dict[str, str], mode: SandboxMode
):
    done = {name for name, outcome in outcomes.items() if outcome.startswith("done")}
    assert len(outcomes) == 25
    if mode.landlock and mode.seccomp:
        assert done == {"look into the environment"}


def test_landlock_is_used_where_the_kernel_has_it(mode: SandboxMode):
    assert mode.landlock == (landlock_abi() > 0)
    assert mode.rlimits


def network_of(pid: int | str) -> str | None:
    """None where one may not look: a reader cannot be looked into but by root."""
    try:
        return str(Path(f"/proc/{pid}/ns/net").readlink())
    except PermissionError:
        return None


def test_a_reader_has_limits_no_privileges_and_no_network(tmp_path: Path, mode: SandboxMode):
    write_pyramid(tmp_path / "a.tiff", [(100, 80)])
    with open_in_sandbox(tmp_path / "a.tiff") as slide:
        assert slide.mode == mode
        process = Path(f"/proc/{slide.reader_pid}")
        status = dict(re.findall(r"(\w+):\t(.*)", (process / "status").read_text()))
        limits = re.findall(
            r"^(Max [a-z ]+?) {2,}(\w+)", (process / "limits").read_text(), re.MULTILINE
        )
        score = (process / "oom_score_adj").read_text()
        networks = {network_of("self"), network_of(slide.reader_pid)}
    if mode.netns:
        assert None in networks or len(networks) == 2
    assert status["NoNewPrivs"] == "1"
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
    assert (status["Seccomp"] == "2") == mode.seccomp
    assert dict(limits) | {
        "Max address space": str(4 << 30),
        "Max core file size": "0",
        "Max file size": "0",
        "Max open files": "256",
    } == dict(limits)
    assert score.strip() == "1000"


@pytest.mark.parametrize(
    ("machine", "column", "header"),
    [
        ("x86_64", 0, "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
        ("aarch64", 1, "/usr/include/asm-generic/unistd.h"),
    ],
)
def test_system_calls_have_the_kernels_numbers(machine: str, column: int, header: str):
    if not Path(header).is_file():
        pytest.skip(f"no {header}: Linux headers of a {platform.machine()} system")
    pattern = r"#define __NR(?:3264)?_(\w+)\s+(\d+)"
    kernels = {name: int(number) for name, number in re.findall(pattern, Path(header).read_text())}
    ours = {name: numbers[column] for name, numbers in NUMBERS.items()}
    newer = {"fchmodat2"}  # Linux 6.6; headers of older systems lack it
    for name, number in ours.items():
        assert kernels.get(name, number if name in newer else None) == number
    assert build_filter(machine, 1)


def run_filter(machine: str, arch: int, number: int, *arguments: int, pid: int = 77) -> int:
    """What the program answers, by an interpreter of the few instructions that it has."""
    data = {0: number, 4: arch} | {16 + 8 * i: a & 0xFFFFFFFF for i, a in enumerate(arguments)}
    accumulator, at, program = 0, 0, build_filter(machine, pid)
    while True:
        step = program[at]
        at += 1
        if step.code == 0x20:
            accumulator = data.get(step.value, 0)
        elif step.code == 0x54:
            accumulator &= step.value
        elif step.code == 0x06:
            return step.value
        else:
            holds = {
                0x15: accumulator == step.value,
                0x35: accumulator >= step.value,
                0x45: bool(accumulator & step.value),
            }[step.code]
            at += step.if_true if holds else step.if_false


ALLOW, EPERM, ENOSYS, KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
READING, WRITING, CREATING = 0o2000000, 0o1, 0o100
THREAD, FORK = 0x3D0F00, 0x1200011


@pytest.mark.parametrize(("machine", "arch"), [("x86_64", 0xC000003E), ("aarch64", 0xC00000B7)])
def test_the_filter_allows_what_reading_needs_on_both_machines(machine: str, arch: int):
    """Only one of them runs these tests, so the other's program is interpreted."""
    column = 0 if machine == "x86_64" else 1

    def answer(name: str, *arguments: int) -> int:
        number = NUMBERS[name][column]
        assert number is not None
        return run_filter(machine, arch, number, *arguments)

    assert run_filter(machine, 0x40000003, 1) == KILL
    assert run_filter(machine, arch, 0 if machine == "x86_64" else 63) == ALLOW  # read
    assert answer("openat", -100, 0, READING) == ALLOW
    assert answer("openat", -100, 0, WRITING) == EPERM
    assert answer("openat", -100, 0, CREATING) == EPERM
    assert answer("clone", THREAD) == ALLOW
    assert answer("clone", FORK) == EPERM
    assert answer("clone3") == ENOSYS
    assert answer("tgkill", 77, 78, 6) == ALLOW
    assert answer("tgkill", 76, 76, 9) == EPERM
    assert answer("kill", 0, 9) == EPERM
    assert answer("socketpair", 1, 1 | 0o2000000) == ALLOW
    assert answer("socketpair", 1, 2) == EPERM
    assert answer("socketpair", 2, 1) == EPERM
    assert answer("prlimit64", 0) == ALLOW
    assert answer("prlimit64", 5) == EPERM
    assert answer("execve") == EPERM


def test_the_third_set_of_calls_of_x86_64_is_refused():
    assert run_filter("x86_64", 0xC000003E, 0x40000000 + 41) == EPERM
