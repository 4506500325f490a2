import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.infer import load_classifier
from models.registry import resolve_model
from service import scoring
from service.errors import Stopped
from service.pipeline import prepare, run_request
from service.progress import Silent, StageClock
from service.request import HeatmapRequest
from service.scoring import Scoring
from wsi.readers import open_slide
from wsi.store import RowWriter, ScoreStore


def test_memory_is_given_back_while_a_cpu_scores(
    painted: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_back: list[None] = []
    monkeypatch.setattr(scoring, "GIVE_BACK_S", 0)
    monkeypatch.setattr(scoring, "give_back_memory", lambda: given_back.append(None))
    asked = HeatmapRequest(str(painted), model=model, mask="none", device="cpu")
    run_request(asked, tmp_path / "out")
    assert given_back


class Stopping(Silent):
    def should_stop(self) -> bool:
        return True


@contextmanager
def begun(
    painted: Path, model: str, on_predict: Callable[[], object], progress: Silent
) -> Iterator[Scoring]:
    """Scoring that has begun, and has no tile yet; a batch is one tile."""
    card, _ = resolve_model(model)
    classifier = load_classifier(model, "cpu", batch_size=1)
    predict = classifier.predict_raw

    def announced(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        on_predict()
        return predict(rgb)

    classifier.predict_raw = announced  # type: ignore[method-assign]
    with open_slide(painted) as slide:
        plan = prepare(HeatmapRequest(str(painted), mask="none"), slide, card).plan
        with closing(Scoring(slide, plan, lambda: classifier, StageClock(progress))) as scores:
            scores.begin(lambda: True)
            yield scores


def create_after(event: threading.Event) -> Callable[..., RowWriter]:
    create = ScoreStore.create

    def slow(*given: Any, **named: Any) -> RowWriter:
        assert event.wait(60), "nothing was scored meanwhile"
        return create(*given, **named)

    return slow


def test_scoring_goes_on_while_the_disk_takes_a_new_store(
    painted: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card, _ = resolve_model(model)
    scored = threading.Event()
    monkeypatch.setattr(ScoreStore, "create", staticmethod(create_after(scored)))
    with begun(painted, model, scored.set, Silent()) as scores:
        prob, _ = scores.finish(tmp_path, {"slide": "painted"}, card)
    assert np.isfinite(prob).all()
    assert len(prob) > 1


def test_a_stop_while_the_disk_takes_a_new_store_leaves_it_unlocked(
    painted: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card, _ = resolve_model(model)
    scored = threading.Event()
    with monkeypatch.context() as patched:
        patched.setattr(ScoreStore, "create", staticmethod(create_after(scored)))
        with (
            begun(painted, model, scored.set, Stopping()) as scores,
            pytest.raises(Stopped),
        ):
            scores.finish(tmp_path, {"slide": "painted"}, card)
    with begun(painted, model, scored.set, Silent()) as scores:
        prob, _ = scores.finish(tmp_path, {"slide": "painted"}, card)
    assert len(prob) > 1
