from __future__ import annotations

import pytest
import torch

from models.recipe import TrainConfig
from models.training import descent
from models.training.descent import Descent
from models.training.parallel import Processes
from tests.models.small_models import make_network


@pytest.mark.parametrize(
    ("precision", "is_there", "chosen"),
    [
        ("auto", True, "bfloat16"),
        ("auto", False, "float32"),
        ("float32", True, "float32"),
        ("bfloat16", False, "bfloat16"),
    ],
)
def test_a_cpu_computes_in_bfloat16_where_it_has_it_and_keeps_its_weights_in_float32(
    monkeypatch: pytest.MonkeyPatch, precision: str, is_there: bool, chosen: str
) -> None:
    monkeypatch.setattr(descent, "has_bfloat16", lambda device: is_there)
    made = Descent(
        make_network(), TrainConfig("x", precision=precision), Processes(torch.device("cpu"))
    )

    with made.forwarding() as network:
        answer = network(torch.zeros(2, 3, 32, 32))

    assert (made.precision, str(answer.dtype)) == (chosen, f"torch.{chosen}")
    assert {w.dtype for w in made.average.values() if w.is_floating_point()} == {torch.float32}
    assert {p.dtype for p in made.network.parameters()} == {torch.float32}
