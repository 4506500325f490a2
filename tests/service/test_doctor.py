"""What a machine has, as `wsi doctor` says it."""

import os

import pytest
import torch

from service.doctor import examine
from wsi import resample


@pytest.mark.parametrize(("count", "said"), [(1, "1 thread, "), (2, "2 threads, ")])
def test_threads_of_the_network_are_counted(count: int, said: str) -> None:
    torch.set_num_threads(count)
    facts = examine(throughput=False)
    assert facts["devices"]["cpu"].startswith(said)
    assert facts["cores"] == len(os.sched_getaffinity(0))
    assert facts["models"]["idc-resnet18"] == "weights as pinned"


def test_what_keeps_averages_from_being_compiled_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    if resample.why_not_compiled() is None:
        assert examine(throughput=False)["averages"] == "compiled"
    monkeypatch.setattr(resample, "_area", None)
    monkeypatch.setattr(resample, "_import_error", "wrong ELF class", raising=False)
    monkeypatch.setattr(resample, "find_spec", lambda _: object())
    said = examine(throughput=False)["averages"]
    assert said == "by SciPy: wsi._area cannot be loaded: wrong ELF class"
    monkeypatch.setattr(resample, "find_spec", lambda _: None)
    assert "needs a C compiler and Python's headers" in examine(throughput=False)["averages"]
