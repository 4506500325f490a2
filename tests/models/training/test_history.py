import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.card import read_card
from models.train import train
from models.training.history import tell_history
from tests.models.training_runs import COLOUR, write_data

pytestmark = pytest.mark.usefixtures("architectures")


def row(epoch: int, loss: float | None, auc: float | None) -> dict[str, float | None]:
    return {"epoch": epoch, "loss": 0.5, "validation_loss": loss, "accuracy": None, "auc": auc}


ROWS = [row(1, None, None), row(2, 0.4, 0.8), row(3, 0.3, 0.7), row(4, 0.6, 0.75)]


@pytest.mark.parametrize(
    ("watch", "keep", "epoch"),
    [("loss", "best", 3), ("auc", "best", 2), ("loss", "last", 4), ("accuracy", "best", 4)],
)
def test_the_kept_epoch_is_the_best_by_what_was_watched(watch: str, keep: str, epoch: int):
    told = tell_history(ROWS, replace(COLOUR, watch=watch, keep=keep))
    assert told["kept_epoch"] == epoch


def test_a_run_draws_its_curves_and_its_card_has_their_numbers(tmp_path: Path):
    card = train(COLOUR, write_data(tmp_path / "data"), tmp_path / "run", device="cpu")

    history = read_card(card).metrics["training"]["history"]
    assert {name: len(values) for name, values in history.items()} == dict.fromkeys(
        ("loss", "validation loss", "validation accuracy", "validation AUC"), 3
    )
    drawn = np.asarray(Image.open(io.BytesIO((tmp_path / "run" / "curves.png").read_bytes())))
    assert drawn.min() < 100
    assert drawn.max() > 250
