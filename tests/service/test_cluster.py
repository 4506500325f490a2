"""Which device a worker of a batch computes on."""

import pytest

from service.cluster import device_of_worker


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
