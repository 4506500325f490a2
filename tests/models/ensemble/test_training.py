"""From a recipe to an ensemble in one folder."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skops.io
import torch
from torch import nn

from models.card import ModelCard, file_sha256, read_card
from models.checkpoint import load_weights
from models.ensemble.files import TRUSTED, save_classical
from models.ensemble.training import member_recipes
from models.errors import CardError, DatasetError, ModelError, UntrustedCode, WeightsError
from models.evaluate import evaluate
from models.infer import Classifier, load_classifier
from models.recipe import parse_changes, read_recipe, shrunk
from models.registry import build, resolve_model
from models.train import TrainProgress, train
from tests.conftest import REPOSITORY
from tests.models.classifier_contract import ClassifierContract
from tests.models.ensemble.ensembles import train_both, write_recipes
from tests.models.small_models import make_rgb

pytestmark = pytest.mark.usefixtures("architectures")


class Stopped(Exception):
    pass


@pytest.fixture(scope="module")
def trained(architectures: None, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_both(data, tmp_path_factory.mktemp("trained"))


@pytest.fixture
def moved(trained: Path, tmp_path: Path) -> Path:
    """The card and the files that it names, elsewhere: all that the model is."""
    card = read_card(trained)
    (tmp_path / "moved").mkdir()
    for name in ("both.json", *(member.file for member in card.members)):
        shutil.copy(trained.with_name(name), tmp_path / "moved" / name)
    return tmp_path / "moved"


class TestEnsemble(ClassifierContract):
    @pytest.fixture
    def classifier(self, trained: Path) -> Classifier:
        return load_classifier(trained, "cpu", batch_size=12, precision="float32")


def test_a_cpu_takes_what_it_was_asked_for_up_to_what_it_likes(trained: Path):
    torch.set_num_threads(1)  # on each core

    sizes = [
        load_classifier(trained, "cpu", batch_size=asked).batch_size for asked in (12, 10_000, None)
    ]

    assert sizes[0] == 12
    assert sizes[1] == sizes[2] <= 128


def see(trained: Path, card: ModelCard, rgb: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Each network's probabilities, and the features of all, by torch alone."""
    probs, features = [], []
    for member in card.members[:2]:
        network = build(member.architecture, 2).eval()
        load_weights(network, trained.with_name(member.file), None, card.classes)
        head = list(network.modules())[-1]
        assert isinstance(head, nn.Linear)
        seen: list[torch.Tensor] = []
        head.register_forward_pre_hook(lambda _, given, seen=seen: seen.append(given[0]))
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (member.mean, member.std))
        with torch.inference_mode():
            logits = network((torch.from_numpy(rgb).permute(0, 3, 1, 2) / 255 - mean) / std)
        probs.append(logits.softmax(1).numpy())
        features.append(seen[0].numpy())
    return probs, np.concatenate(features, 1)


def test_the_mean_of_all_members_is_the_answer(trained: Path):
    card, rgb = read_card(trained), make_rgb(5, 50)
    answers, features = see(trained, card, rgb)
    for member in card.members[2:]:
        stored = skops.io.load(trained.with_name(member.file), trusted=list(TRUSTED))
        answers.append(stored["estimator"].predict_proba(features))

    found = load_classifier(trained, "cpu", precision="float32").predict_raw(rgb)

    assert [member.name for member in card.members] == [
        "one", "other", "random-forest", "gradient-boosting", "svm"
    ]  # fmt: skip
    np.testing.assert_allclose(found, np.mean(answers, 0), atol=1e-5)


def test_the_card_pins_every_file_and_tells_what_each_member_reaches(trained: Path):
    card = read_card(trained)

    for member in card.members:
        assert file_sha256(trained.with_name(member.file)) == member.sha256
    assert card.metrics["members"].keys() == {member.name for member in card.members}
    assert card.metrics["validation"]["tiles"] == 16
    assert card.metrics["training"]["epochs"] == 2
    assert card.metrics["training"]["parameters"] == 8 * 3 * 25 + 8 + 16 + 16 + 2 + 3 * 2 + 2
    assert card.limits[0] == "Made for tests."


def test_pale_and_dark_tiles_are_told_apart_as_by_any_model(trained: Path, data: Path):
    found = evaluate(trained, data, part="validation", device="cpu", rounds=5)

    assert found.metrics["auc"].value > 0.95
    of_card = read_card(trained).metrics["validation"]["accuracy"]["value"]
    assert found.metrics["accuracy"].value == pytest.approx(of_card, abs=1e-4)


def test_one_folder_moved_elsewhere_still_works(trained: Path, moved: Path):
    rgb = make_rgb(3, 50)

    found = load_classifier(moved, "cpu").predict(rgb)

    np.testing.assert_array_equal(found, load_classifier(trained, "cpu").predict(rgb))


def test_a_run_that_stopped_between_members_ends_in_the_same_files(
    data: Path, trained: Path, tmp_path: Path
):
    def stop(progress: TrainProgress) -> None:
        if progress.stage == "other":
            raise Stopped

    with pytest.raises(Stopped):
        train_both(data, tmp_path, stop)
    assert not (tmp_path / "both" / "both.json").exists()
    seen: list[str] = []
    card = train_both(data, tmp_path, lambda progress: seen.append(progress.stage))

    assert seen == ["other"]
    assert read_card(card).members == read_card(trained).members


@pytest.mark.slow
def test_another_process_makes_the_same_files_from_the_same_members(
    data: Path, trained: Path, tmp_path: Path
):
    """Addresses in memory, hashes of texts and the clock differ from process to process."""
    shutil.copytree(trained.parent, tmp_path / "both")
    for path in tmp_path.glob("both/both*"):
        path.unlink()
    program = (
        "from pathlib import Path; from tests.models.training_runs import register; register(); "
        "from tests.models.ensemble.ensembles import train_both; "
        f"train_both(Path({str(data)!r}), Path({str(tmp_path)!r}))"
    )
    subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=True)

    assert read_card(tmp_path / "both" / "both.json").members == read_card(trained).members


def test_a_card_is_resolved_without_torch_and_scikit_learn(moved: Path):
    program = (
        "import sys; from models.registry import resolve_model; "
        f"resolve_model({str(moved)!r}); print([m for m in ('torch', 'sklearn', 'skops') "
        "if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"


def test_a_missing_file_is_named_with_its_member(moved: Path):
    (moved / "both-svm.skops").unlink()

    with pytest.raises(WeightsError, match=r"both-svm\.skops of its member svm.*copy the whole"):
        resolve_model(moved)


@pytest.mark.parametrize("file", ["one.safetensors", "both-svm.skops"])
def test_a_changed_file_is_refused(moved: Path, file: str):
    content = (moved / file).read_bytes()
    (moved / file).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    with pytest.raises(WeightsError, match=rf"{file} has sha256 .*its card pins"):
        load_classifier(moved, "cpu")


def write_card_fields(folder: Path, **changes: object) -> Path:
    fields = json.loads((folder / "both.json").read_text())
    (folder / "both.json").write_text(json.dumps(fields | changes))
    return folder


def test_classes_in_another_order_are_refused(moved: Path):
    write_card_fields(moved, class_names=["idc", "non_idc"])

    with pytest.raises(
        WeightsError, match=r"one\.safetensors was trained for \['non_idc', 'idc'\]"
    ):
        load_classifier(moved, "cpu")


def repin(folder: Path, name: str) -> None:
    """The card pins the file of that member as it is now."""
    members = json.loads((folder / "both.json").read_text())["members"]
    for member in members:
        if member["name"] == name:
            member["sha256"] = file_sha256(folder / member["file"])
    write_card_fields(folder, members=members)


def test_classes_of_a_classical_member_in_another_order_are_refused(moved: Path):
    path = moved / "both-random-forest.skops"
    stored = skops.io.load(path, trusted=list(TRUSTED))
    save_classical(stored["estimator"], ["idc", "non_idc"], path)
    repin(moved, "random-forest")

    with pytest.raises(WeightsError, match=r"both-random-forest\.skops was trained for \['idc'"):
        load_classifier(moved, "cpu")


def test_a_classical_member_of_other_networks_is_refused(moved: Path):
    members = json.loads((moved / "both.json").read_text())["members"]
    write_card_fields(moved, members=[one for one in members if one["name"] != "other"])

    with pytest.raises(WeightsError, match="looks at 11 features, but the card's networks have 8"):
        load_classifier(moved, "cpu")


def test_a_file_with_another_type_is_refused(moved: Path):
    from sklearn.linear_model import LogisticRegression

    path = moved / "both-svm.skops"
    fitted = LogisticRegression().fit(np.eye(2), [0, 1])
    skops.io.dump({"classes": ["non_idc", "idc"], "estimator": fitted}, path)
    repin(moved, "svm")

    with pytest.raises(UntrustedCode, match=r"both-svm\.skops holds .*LogisticRegression, which"):
        load_classifier(moved, "cpu")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"members": []}, "lists no members"),
        ({"members": ["one"]}, "members holds 'one'; each is an object"),
        ({"architecture": "tiny"}, "members are listed, but architecture is 'tiny'"),
    ],
)
def test_a_card_that_is_no_ensemble_s_is_refused(
    moved: Path, changes: dict[str, object], message: str
):
    with pytest.raises(CardError, match=message):
        resolve_model(write_card_fields(moved, **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"file": "../one.safetensors"}, "use a bare name"),
        ({"file": "one.pt"}, r"use a \.safetensors file"),
        ({"sha256": "abc"}, "64 digits"),
        ({"input_px": 0}, "above 0"),
        ({"colour": "red"}, "colour"),
        ({"name": "svm"}, "each needs its own name"),
    ],
)
def test_a_member_that_cannot_be_is_refused(moved: Path, changes: dict[str, object], message: str):
    members = json.loads((moved / "both.json").read_text())["members"]
    write_card_fields(moved, members=[members[0] | changes, *members[1:]])

    with pytest.raises(CardError, match=message):
        resolve_model(moved)


def test_members_share_the_data_and_the_seed_of_the_ensemble(tmp_path: Path):
    config = write_recipes(tmp_path)
    changed = replace(config, seed=7, data=replace(config.data, limit=3))

    assert {(one.seed, one.data.limit) for one in member_recipes(changed)} == {(7, 3)}


def test_what_members_learn_by_is_changed_for_all_of_them(tmp_path: Path):
    write_recipes(tmp_path)
    changes = parse_changes(["ensemble.changes.batch_size=4", "ensemble.trees=9"])
    config = read_recipe(tmp_path / "both.toml", changes)

    assert [one.batch_size for one in member_recipes(config)] == [4, 4]
    assert (config.ensemble.trees, config.ensemble.rounds) == (9, 3)


def test_a_field_that_nobody_would_obey_is_refused(tmp_path: Path):
    write_recipes(tmp_path)

    with pytest.raises(DatasetError, match=r"set ensemble\.changes\.batch_size for all"):
        read_recipe(tmp_path / "both.toml", {"batch_size": 4})


def test_members_of_other_tiles_are_refused_before_any_is_trained(data: Path, tmp_path: Path):
    config = replace(write_recipes(tmp_path), mpp=2.0)

    with pytest.raises(DatasetError, match=r"mpp is 2\.0, but of its member one 4\.0"):
        train(config, data, tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()


def test_weights_to_start_from_are_refused(data: Path, tmp_path: Path):
    with pytest.raises(ModelError, match="start its members from weights one by one"):
        train(write_recipes(tmp_path), data, tmp_path, weights=tmp_path / "w.safetensors")


def test_a_small_ensemble_is_of_small_members(tmp_path: Path):
    small = shrunk(write_recipes(tmp_path))

    assert [one.name for one in member_recipes(small)] == ["one-smoke", "other-smoke"]
    assert {one.epochs for one in member_recipes(small)} == {2}
    assert {one.data.limit for one in member_recipes(small)} == {4}
