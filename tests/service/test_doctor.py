"""What a machine has, as `wsi doctor` says it."""

import os

import pytest
import torch

from service.doctor import examine


@pytest.mark.parametrize(("count", "said"), [(1, "1 thread, "), (2, "2 threads, ")])
def test_threads_of_the_network_are_counted(count: int, said: str) -> None:
    torch.set_num_threads(count)
    facts = examine(throughput=False)
    assert facts["devices"]["cpu"].startswith(said)
    assert facts["cores"] == len(os.sched_getaffinity(0))
    assert facts["models"]["idc-resnet18"] == "weights as pinned"
