from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.errors import DatasetError
from models.infer import load_classifier
from models.recipe import FewShotConfig
from models.registry import MODELS
from models.train import train
from models.training.fewshot import draw_episode, prototype_logits
from tests.models.labelled import make_tiles
from tests.models.training_runs import SMALL, STILL, register, write_data

EPISODES = replace(
    SMALL,
    phases=((3, 50),),
    learning_rate=0.02,
    augment=STILL,
    few_shot=FewShotConfig(shots=3, queries=2, episodes=4),
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tiny", "linear"):
        monkeypatch.setitem(MODELS, name, "")
    register()


def test_an_episode_has_support_and_queries_of_each_class_and_no_tile_twice():
    label = np.array([1, 0] * 8)
    episode = draw_episode(label, EPISODES, np.random.default_rng(0))

    assert label[episode].tolist() == [0] * 5 + [1] * 5
    assert len(set(episode.tolist())) == 10


def test_a_class_too_small_for_an_episode_is_named():
    with pytest.raises(DatasetError, match=r"class idc has 4 training tiles.*needs 5"):
        draw_episode(np.array([0] * 9 + [1] * 4), EPISODES, np.random.default_rng(0))


def test_the_last_layer_orders_classes_as_squared_distances_do():
    torch.manual_seed(0)
    prototypes, features = torch.randn(3, 16), torch.randn(5, 16)
    weight, bias = prototype_logits(prototypes)

    found = (features @ weight.T + bias).softmax(1)

    distance = ((features[:, None] - prototypes) ** 2).sum(2)
    torch.testing.assert_close(found, (-distance / 4).softmax(1))


def test_what_episodes_made_serves_as_an_ordinary_network(tmp_path: Path):
    card = train(EPISODES, write_data(tmp_path / "data"), tmp_path / "out", device="cpu")

    tiles = make_tiles(("new",), per_class=8, seed=5)
    prob = load_classifier(card, "cpu").predict(tiles.rgb)

    assert (prob.argmax(1) == tiles.label).all()
