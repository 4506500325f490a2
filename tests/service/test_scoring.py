from pathlib import Path

import pytest

from service import scoring
from service.pipeline import run_request
from service.request import HeatmapRequest


def test_memory_is_given_back_while_a_cpu_scores(
    painted: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_back: list[None] = []
    monkeypatch.setattr(scoring, "GIVE_BACK_S", 0)
    monkeypatch.setattr(scoring, "give_back_memory", lambda: given_back.append(None))
    asked = HeatmapRequest(str(painted), model=model, mask="none", device="cpu")
    run_request(asked, tmp_path / "out")
    assert given_back
