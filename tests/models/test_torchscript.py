"""TorchScript: code in a file, run only for who says so."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.card import read_card, write_card
from models.errors import UntrustedCode, WeightsError
from models.infer import load_classifier
from models.network import TorchClassifier
from tests.models.classifier_contract import SAME
from tests.models.small_models import ChannelNetwork, make_card, make_rgb


def write_torchscript(folder: Path) -> Path:
    """A network of an architecture that we do not have, as WSInfer publishes them."""
    card = make_card(architecture="inception_v4")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        traced = torch.jit.trace(ChannelNetwork(), torch.zeros(2, 3, 32, 32))
        torch.jit.save(traced, folder / "torchscript_model.pt")
    write_card(card, folder / "config.json")
    return folder


def test_torchscript_is_not_run_unless_its_code_is_trusted(tmp_path: Path):
    folder = write_torchscript(tmp_path)

    with pytest.raises(UntrustedCode, match=r"runs the code.*--trust-code"):
        load_classifier(folder)


def test_trusted_torchscript_scores_as_the_network_it_was_made_from(tmp_path: Path):
    rgb = make_rgb(5)

    prob = load_classifier(
        write_torchscript(tmp_path), "cpu", trust_code=True, batch_size=4
    ).predict(rgb)

    expected = TorchClassifier(make_card(), ChannelNetwork(), "cpu", precision="float32").predict(
        rgb
    )
    np.testing.assert_allclose(prob, expected, rtol=0, atol=SAME)


def test_torchscript_computes_one_batch_at_once(tmp_path: Path):
    torch.set_num_threads(2)
    folder = write_torchscript(tmp_path)

    assert load_classifier(folder, "cpu", trust_code=True, batch_size=4).batch_size == 4


def test_torchscript_other_than_the_cards_is_refused(tmp_path: Path):
    folder = write_torchscript(tmp_path)
    card = read_card(folder / "config.json")
    write_card(replace(card, weights_sha256="0" * 64), folder / "config.json")

    with pytest.raises(WeightsError, match="not the file that its card pins"):
        load_classifier(folder, trust_code=True)


def test_damaged_torchscript_is_a_clear_error(tmp_path: Path):
    folder = write_torchscript(tmp_path)
    path = folder / "torchscript_model.pt"
    path.write_bytes(path.read_bytes()[:1000])

    with pytest.raises(WeightsError, match="no whole TorchScript file"):
        load_classifier(folder, trust_code=True)
