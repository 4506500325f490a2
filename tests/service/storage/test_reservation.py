"""Room is promised once, to whoever asks first, and comes back however the holder ends."""

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from service.access.auth import Owner
from service.errors import NoSpace, QuotaExceeded
from service.storage.reservation import Held, Reservations, space_watched

MIB = 1 << 20


def free_bytes(path: Path) -> int:
    return shutil.disk_usage(path).free


def test_what_is_held_is_not_promised_again(tmp_path: Path):
    """Of all that is free, nine tenths can be held once, not twice."""
    ledger = Reservations(tmp_path)
    most = free_bytes(tmp_path) * 9 // 10
    with ledger.reserve(most, owner=Owner("a")):
        assert (ledger.held(), ledger.held("a"), ledger.held("b")) == (most, most, 0)
        with pytest.raises(NoSpace, match=rf"{most} bytes are needed and \d+ are free"):
            Reservations(tmp_path).reserve(most)
    ledger.reserve(most).close()
    assert ledger.held() == 0


def test_the_floor_stays_free(tmp_path: Path):
    with pytest.raises(NoSpace, match="1 bytes are needed and 0 are free"):
        Reservations(tmp_path, floor_bytes=2 * free_bytes(tmp_path)).reserve(1)


def test_what_was_written_is_not_counted_twice(tmp_path: Path):
    """The disk shows it as used; only what is still to come is held."""
    ledger = Reservations(tmp_path)
    most = free_bytes(tmp_path) * 9 // 10
    with ledger.reserve(most, owner=Owner("a")) as held:
        held.spend(most)
        ledger.reserve(most, owner=Owner("b")).close()
        assert ledger.held("a") == most


def test_a_reservation_grows_only_while_there_is_room(tmp_path: Path):
    ledger = Reservations(tmp_path)
    with ledger.reserve(MIB) as held:
        held.grow(MIB)
        assert (held.left, ledger.held()) == (2 * MIB, 2 * MIB)
        with pytest.raises(NoSpace):
            held.grow(2 * free_bytes(tmp_path))
        assert (held.left, ledger.held()) == (2 * MIB, 2 * MIB)
        held.grow(5, replacing=True)
        assert (held.left, ledger.held()) == (2 * MIB + 5, 5)


def test_the_check_sees_all_that_the_tenant_holds(tmp_path: Path):
    seen: list[Held] = []
    ledger = Reservations(tmp_path)
    with ledger.reserve(10, owner=Owner("a")), ledger.reserve(100, owner=Owner("b")):
        with ledger.reserve(1000, owner=Owner("a"), check=seen.append) as third:
            third.grow(5)
        assert [held.tenant for held in seen] == [1010, 1015]

        def refuse(_held: Held) -> None:
            raise QuotaExceeded("no")

        with pytest.raises(QuotaExceeded):
            ledger.reserve(1, owner=Owner("a"), check=refuse)
        assert ledger.held("a") == 10


def test_the_check_tells_one_key_from_the_others_of_its_tenant(tmp_path: Path):
    seen: list[Held] = []
    ledger = Reservations(tmp_path)
    with (
        ledger.reserve(10, owner=Owner("a", "k1")),
        ledger.reserve(100, owner=Owner("a", "k2")),
        ledger.reserve(1000, owner=Owner("b", "k1")),
    ):
        ledger.reserve(1, owner=Owner("a", "k1"), check=seen.append).close()
    assert seen == [Held(tenant=111, key=11)]


def test_nobody_else_reserves_while_one_is_checked(tmp_path: Path):
    def require_locked(_held: Held) -> None:
        with (
            (tmp_path / "reservations" / ".lock").open("rb") as lock,
            pytest.raises(BlockingIOError),
        ):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    Reservations(tmp_path).reserve(1, check=require_locked).close()


def test_many_threads_hold_no_more_than_there_is(tmp_path: Path):
    """Twenty ask for a tenth of what is free, and keep it: at most ten get it."""
    ledger, held, refused = Reservations(tmp_path), [], []
    tenth = free_bytes(tmp_path) // 10

    def ask() -> None:
        try:
            held.append(ledger.reserve(tenth))
        except NoSpace:
            refused.append(1)

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 8 <= len(held) <= 10  # others use the disk, too
    assert len(held) + len(refused) == 20
    for one in held:
        one.close()
    assert list((tmp_path / "reservations").glob("*.hold")) == []


HOLD = """
import sys, time
from pathlib import Path
from service.storage.reservation import Reservations
held = Reservations(Path(sys.argv[1])).reserve(12345)
print("held", flush=True)
sys.stdin.read()
"""


def test_what_a_killed_process_held_is_free_again(tmp_path: Path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert Reservations(tmp_path).held() == 12345
        holder.send_signal(signal.SIGKILL)
    assert Reservations(tmp_path).held() == 0
    assert list((tmp_path / "reservations").glob("*.hold")) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_no_space_and_other_errors_are_not(code: int):
    with pytest.raises(NoSpace), space_watched():
        raise OSError(code, os.strerror(code))
    with pytest.raises(PermissionError), space_watched():
        raise PermissionError(errno.EACCES, "no")
