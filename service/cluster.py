"""The Dask workers of a batch: a cluster that is there already, or one on this machine."""

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING

from service.errors import InvalidRequest
from service.progress import Silent
from wsi.cores import usable_cores

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

__all__ = ["TaskProgress", "connect", "device_of_worker", "own_device"]

THREADS = 3
"""Slides at once in a worker: one is scored while the last is written, and the next is opened,
masked and read ahead."""

STOPS = (signal.SIGINT, signal.SIGTERM)

DEATHS = 1
"""How often a slide may lose its worker beside others, before it is tried once more, alone."""


@contextmanager
def connect(scheduler: str | None = None, workers: int | None = None) -> Iterator["Client"]:
    """A client of the cluster at that address, which stays, or of a local one, which ends with it.

    An error, Ctrl-C too, kills a local cluster's workers: what they wrote is whole or resumed.
    """
    from distributed import Client

    level = "INFO" if logging.getLogger().isEnabledFor(logging.INFO) else "CRITICAL"
    for name in ("distributed", "distributed.client", "distributed.gc"):  # Dask sets their levels
        logging.getLogger(name).setLevel(level)
    if scheduler:
        with _reach(scheduler) as client:
            yield client
        return
    with (
        _local_cluster(workers or max(1, count_gpus()), level) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _reach(scheduler: str) -> "Client":
    """Raises InvalidRequest where that is no address, or nobody answers there."""
    from distributed import Client

    try:
        asyncio.run(_knock(scheduler))  # a client that fails to connect leaves its thread behind
        return Client(scheduler)
    except (ValueError, TypeError, OSError) as error:
        raise InvalidRequest(
            f"--scheduler {scheduler}: no Dask scheduler answers there ({error}); use the address "
            "of one that runs, like tcp://HOST:8786, or leave it out to compute on this machine"
        ) from error


async def _knock(scheduler: str) -> None:
    """Raises ValueError, TypeError or OSError (its timeout is one) where a client is not let in."""
    import dask
    from dask.utils import parse_timedelta
    from distributed import Security
    from distributed.comm.core import connect

    seconds = parse_timedelta(dask.config.get("distributed.comm.timeouts.connect"))
    try:
        async with asyncio.timeout(seconds + 1):  # what is no Dask may take the call and be silent
            comm = await connect(scheduler, **Security().get_connection_args("client"))
    except TimeoutError:
        raise TimeoutError(f"what listens there was silent for {seconds:g} s") from None
    await comm.close()


class TaskProgress(Silent):
    """Of a task in a worker: it stops when nobody waits for the slide any more."""

    def __init__(self) -> None:
        from distributed import get_worker

        self._worker = get_worker()
        self._key = self._worker.get_current_task()

    def should_stop(self) -> bool:
        task = self._worker.state.tasks.get(self._key)
        return task is None or task.state == "cancelled"


def own_device(device: str) -> str:
    """A device for each worker of a machine that has several."""
    from distributed import get_worker

    return device_of_worker(device, str(get_worker().name), count_gpus())


def device_of_worker(device: str, worker: str, gpus: int) -> str:
    """Of `cuda:0,cuda:1`, or of all GPUs where it is `auto`, the one of the worker's number.

    worker: its name; a local cluster's are numbers, and others' have the first.
    """
    listed = device.split(",")
    if device == "auto" and gpus > 1 and worker.isdigit():
        listed = [f"cuda:{index}" for index in range(gpus)]
    return listed[int(worker) % len(listed)] if worker.isdigit() else listed[0]


def count_gpus() -> int:
    """NVIDIA devices, without importing torch."""
    return len(list(Path("/proc/driver/nvidia/gpus").glob("*")))


@contextmanager
def _local_cluster(workers: int, log_level: str) -> Iterator["LocalCluster"]:
    import dask
    from distributed import LocalCluster

    config = {
        "distributed.scheduler.allowed-failures": DEATHS,
        "distributed.nanny.pre-spawn-environ": _worker_environment(workers, log_level),
    }
    with dask.config.set(config), ExitStack() as stack:
        with _undisturbed():
            cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=THREADS,
                dashboard_address="127.0.0.1:0",  # any free port, and not for others
                # slides are streamed; Dask's own limit would only kill a worker that holds a mask
                memory_limit=0,
            )
            stack.enter_context(cluster)
            stack.push(partial(_kill_after_error, cluster))
        yield cluster


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Signals to stop are heard at the end of the block: Dask cannot put away a cluster that has
    half started. Processes that begin in it never hear them, which terminals and schedulers send
    to them too: this one ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    resource_tracker.ensure_running()  # it lets them through again in the thread that starts it
    heard: list[int] = []
    before = {stop: signal.signal(stop, lambda stop, _: heard.append(stop)) for stop in STOPS}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for stop, handler in before.items():
            signal.signal(stop, handler)
    for number in heard:
        signal.raise_signal(number)


def _worker_environment(workers: int, log_level: str) -> dict[str, str]:
    """The network has all cores, where Dask's default is one; a caller's own setting wins."""
    threads = str(max(1, usable_cores() // workers))
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return dict.fromkeys(names, threads) | {"DASK_LOGGING__DISTRIBUTED": log_level}


def _kill_after_error(
    cluster: "LocalCluster", error: type[BaseException] | None, *_: object
) -> None:
    """At once: closing would wait for the slides that they are at."""
    if error is None:
        return
    for nanny in cluster.workers.values():
        nanny.auto_restart = False
        if nanny.pid:
            os.kill(nanny.pid, signal.SIGKILL)
