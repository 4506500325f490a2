"""The commands serve and worker, as processes."""

import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.errors import InvalidRequest
from service.server import enough_descriptors, require_safe_address
from service.settings import Settings
from service.worker.fleet import Fleet
from tests.service.served import COMMAND, LIMIT_S, Served, children_of, is_alive, wait_for
from tests.service.worker.workshop import make_slide


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_machine_may_be_served_without_keys(host: str):
    require_safe_address(Settings(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "pathology.example"])
def test_others_are_not_served_without_keys(host: str):
    with pytest.raises(InvalidRequest, match="WSI_AUTH"):
        require_safe_address(Settings(host=host))
    require_safe_address(Settings(host=host, auth=("keys",)))


def test_worker_that_dies_is_replaced_and_all_end_together():
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    fleet = Fleet([dict(os.environ)] * 2, command)
    fleet.start()
    first = wait_for(lambda: fleet.pids if len(fleet.pids) == 2 else None)

    os.kill(first[0], signal.SIGKILL)

    second = wait_for(lambda: fleet.pids if {*fleet.pids} - {*first} else None)
    fleet.close(LIMIT_S)
    assert fleet.pids == []
    assert not any(is_alive(pid) for pid in {*first, *second})


def test_machine_that_has_no_memory_for_a_worker_is_asked_again_later(tmp_path: Path):
    """As fork(2) fails; the thread that starts workers must go on, or all of them would end."""
    gone = str(tmp_path / "gone")
    fleet = Fleet([dict(os.environ), {}], [gone])
    fleet.start()
    wait_for(lambda: all(place.start_at for place in fleet._places))
    assert fleet._thread.is_alive()
    fleet.close(LIMIT_S)
    assert fleet.pids == []


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"WSI_MODEL": "nobody"}, "no model is named 'nobody'"),
        ({"WSI_AUTH": "jwt"}, "set WSI_JWT_ISSUER and WSI_JWT_AUDIENCE too"),
        ({"WSI_PORT": "many"}, "a setting (WSI_…) has a value that it cannot have"),
    ],
)
def test_wrong_setting_is_one_sentence_and_no_service(
    tmp_path: Path, settings: dict[str, str], sentence: str
):
    done = subprocess.run(
        [*COMMAND, "serve"],
        env=os.environ | {"WSI_DATA": str(tmp_path), "WSI_PORT": "0"} | settings,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


SIGNAL_AT_ONCE = """
import os, resource, signal, sys
from service.server import Fleet, serve
from service.settings import Settings

start = Fleet.start

def start_and_be_told_to_end(fleet):
    start(fleet)
    os.kill(os.getpid(), int(sys.argv[1]))

Fleet.start = start_and_be_told_to_end
resource.setrlimit(resource.RLIMIT_NOFILE, (500, 900))
serve(
    Settings(port=0, workers=0),
    lambda url: print(*resource.getrlimit(resource.RLIMIT_NOFILE)),
)
"""


def serve_and_end(data: Path, number: signal.Signals) -> "subprocess.CompletedProcess[str]":
    """Prints what descriptors it may have, of 500 and at most 900."""
    return subprocess.run(
        [sys.executable, "-c", SIGNAL_AT_ONCE, str(int(number))],
        env=os.environ | {"WSI_DATA": str(data), "WSI_SANDBOX": "off"},
        stdout=subprocess.PIPE,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_that_comes_before_the_server_has_started_ends_it(
    tmp_path: Path, number: signal.Signals
):
    assert serve_and_end(tmp_path, number).returncode == 0


def test_service_takes_as_many_descriptors_as_it_may(tmp_path: Path):
    assert serve_and_end(tmp_path, signal.SIGTERM).stdout == "900 900\n"


@pytest.mark.parametrize(
    ("soft", "hard", "taken"),
    [
        (1024, 4096, 4096),
        (1024, 1024, 1024),
        (1024, 524_288, 65_536),
        (1024, resource.RLIM_INFINITY, 65_536),
        (100_000, 524_288, 100_000),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, resource.RLIM_INFINITY),
    ],
)
def test_limit_of_descriptors_is_raised_within_bounds(soft: int, hard: int, taken: int):
    assert enough_descriptors(soft, hard) == taken


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    service = Served(tmp_path)
    yield service
    service.close()


def post(served: Served, slide: Path) -> httpx.Response:
    return httpx.post(
        f"{served.url}/v1/heatmaps",
        content=slide.read_bytes(),
        headers={
            "Accept": "image/png",
            "Prefer": "wait=60",
            "Content-Type": "application/octet-stream",
        },
        timeout=LIMIT_S,
    )


def test_service_starts_works_survives_its_worker_and_ends(served: Served, tmp_path: Path):
    slides = [make_slide(tmp_path / f"{tiles}.tiff", tiles) for tiles in (8, 9)]
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+ \(research use, .*\)\n", served.line)

    answer = post(served, slides[0])

    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    (worker,) = wait_for(served.workers)
    os.kill(worker, signal.SIGKILL)
    assert post(served, slides[1]).status_code == 200
    (another,) = wait_for(served.workers)
    assert another != worker

    served.process.terminate()

    assert served.process.wait(LIMIT_S) == 0
    assert not is_alive(another)


def test_workers_do_not_outlive_a_service_that_is_killed(served: Served):
    (worker,) = wait_for(served.workers)
    wait_for(lambda: served_is_ready(served))
    (runner,) = children_of(worker)

    served.process.kill()

    wait_for(lambda: not is_alive(worker) and not is_alive(runner))


def served_is_ready(served: Served) -> bool:
    return httpx.get(f"{served.url}/readyz", timeout=LIMIT_S).status_code == 200
