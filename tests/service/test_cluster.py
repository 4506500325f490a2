"""Which device a worker of a batch computes on, and how a cluster that starts is stopped."""

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from service.cluster import connect, device_of_worker
from service.errors import InvalidRequest

REPOSITORY = Path(__file__).resolve().parents[2]

STOPPED_WHILE_IT_STARTS = """
import multiprocessing, os, sys, threading
from service.cli import run_guarded
from service.cluster import connect

def stop_as_soon_as_a_worker_starts():
    while not multiprocessing.active_children():
        pass
    os.killpg(0, int(sys.argv[1]))  # to the worker too

def work():
    threading.Thread(target=stop_as_soon_as_a_worker_starts).start()
    with connect():
        print("work begins")

if __name__ == "__main__":
    run_guarded(work)
"""


@pytest.mark.parametrize(
    ("device", "worker", "gpus", "own"),
    [
        ("auto", "0", 0, "auto"),
        ("auto", "1", 1, "auto"),
        ("auto", "0", 2, "cuda:0"),
        ("auto", "3", 2, "cuda:1"),
        ("cpu", "1", 4, "cpu"),
        ("cuda:2", "1", 4, "cuda:2"),
        ("cuda:1,cuda:3", "0", 4, "cuda:1"),
        ("cuda:1,cuda:3", "1", 4, "cuda:3"),
        ("cuda:1,cuda:3", "2", 4, "cuda:1"),
        ("auto", "tcp://10.0.0.1:4000", 2, "auto"),
        ("cuda:1,cuda:3", "tcp://10.0.0.1:4000", 4, "cuda:1"),
    ],
)
def test_each_worker_has_its_own_device(device: str, worker: str, gpus: int, own: str) -> None:
    assert device_of_worker(device, worker, gpus) == own


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_cluster_that_is_stopped_while_it_starts_is_put_away_without_a_trace(
    tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "work.py").write_text(STOPPED_WHILE_IT_STARTS)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "work.py"), str(int(number))],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        start_new_session=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (128 + number, "")
    assert done.stderr == "stopped; the same command goes on where this one was\n"


@pytest.mark.parametrize("address", ["foo", "tcp://127.0.0.1:9", "nonsense://a:1"])
def test_a_scheduler_that_does_not_answer_is_one_sentence(address: str) -> None:
    import dask
    import distributed  # noqa: F401  its defaults come first

    before = threading.active_count()
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "0.5s"}),
        pytest.raises(InvalidRequest, match=rf"--scheduler {address}: .*like tcp://HOST:8786"),
        connect(address),
    ):
        pass
    assert threading.active_count() <= before  # no event loop goes on behind the error


def test_a_server_that_is_no_scheduler_is_one_sentence() -> None:
    import dask
    import distributed  # noqa: F401  its defaults come first

    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        dask.config.set({"distributed.comm.timeouts.connect": "0.5s"}),
        pytest.raises(InvalidRequest, match=r"no Dask scheduler answers there \(.*silent"),
        connect(f"tcp://127.0.0.1:{silent.getsockname()[1]}"),
    ):
        pass
