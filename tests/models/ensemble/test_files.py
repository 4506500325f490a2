"""Classifiers of features: fitted the same way each time, kept as what they are made of."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline

from models.ensemble.classical import fit_classical
from models.ensemble.config import EnsembleConfig
from models.ensemble.files import TRUSTED, load_classical, save_classical
from models.ensemble.members import CLASSICAL
from models.errors import DatasetError, UntrustedCode, WeightsError

SMALL = EnsembleConfig(trees=5, rounds=3)
CLASSES = ("a", "b", "c", "d")


def make_features(rows: int = 48, width: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Class i is two standard deviations up in feature i. Twelve patients, three of each class."""
    label = np.arange(rows) % 4
    features = np.random.default_rng(0).normal(size=(rows, width)).astype(np.float32)
    features[:, :4] += 2 * np.eye(4, dtype=np.float32)[label]
    return features, label, np.array([f"p{i % 12}" for i in range(rows)])


def fit(kind: str, seed: int = 0) -> Any:
    return fit_classical(kind, *make_features(), SMALL, seed)


@pytest.mark.parametrize("kind", CLASSICAL)
def test_what_is_read_back_answers_as_what_was_written(kind: str, tmp_path: Path):
    fitted, features = fit(kind), make_features()[0]
    sha256 = save_classical(fitted, CLASSES, tmp_path / "one.skops")

    found = load_classical(tmp_path / "one.skops", sha256, CLASSES, 12)

    np.testing.assert_array_equal(found.predict_proba(features), fitted.predict_proba(features))
    assert (found.predict(features) == make_features()[1]).mean() > 0.7


@pytest.mark.parametrize("kind", CLASSICAL)
def test_the_seed_decides_the_file(kind: str, tmp_path: Path):
    digests = [
        save_classical(fit(kind, seed), CLASSES, tmp_path / "one.skops") for seed in (0, 0, 1)
    ]

    assert digests[0] == digests[1] != digests[2]


def test_decisions_are_calibrated_on_other_patients_than_they_were_made_on():
    """One patient's tiles are all alike: with folds by tile an SVM would be sure of them, and of
    noise it may not be."""
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(60), 4)
    look = rng.normal(size=(60, 6))[patient] + rng.normal(0, 0.01, (240, 6))
    label = (patient % 2).astype(np.int64)

    fitted = fit_classical(
        "svm", look.astype(np.float32), label, patient.astype(np.str_), SMALL, seed=0
    )
    by_tile = fit_classical(
        "svm", look.astype(np.float32), label, np.arange(240).astype(np.str_), SMALL, seed=0
    )

    fresh = rng.normal(size=(500, 6)).astype(np.float32)
    sure, surer = (np.abs(one.predict_proba(fresh)[:, 1] - 0.5).mean() for one in (fitted, by_tile))
    assert sure < surer / 2


def test_a_class_with_one_tile_is_refused():
    label = np.array([0, 0, 0, 1])

    with pytest.raises(DatasetError, match="a class has 1 training tile"):
        fit_classical("svm", np.eye(4, dtype=np.float32), label, np.array([*"abcd"]), SMALL, 0)


def test_a_pickle_is_no_classifier(tmp_path: Path):
    (tmp_path / "one.skops").write_bytes(b"\x80\x04N.")

    with pytest.raises(WeightsError, match="no classifier that this scikit-learn can use"):
        load_classical(tmp_path / "one.skops", None, CLASSES, 12)


def rewrite(path: Path, old: str, new: str) -> None:
    """A text of the schema in the place of another."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    assert old.encode() in files["schema.json"]
    files["schema.json"] = files["schema.json"].replace(old.encode(), new.encode())
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def test_a_type_that_skops_itself_would_let_in_is_refused(tmp_path: Path):
    save_classical(fit("svm"), CLASSES, tmp_path / "one.skops")
    rewrite(tmp_path / "one.skops", '"StandardScaler"', '"FunctionTransformer"')

    with pytest.raises(UntrustedCode, match="FunctionTransformer, which no classifier"):
        load_classical(tmp_path / "one.skops", None, CLASSES, 12)


def test_what_could_not_be_read_is_not_written(tmp_path: Path):
    with pytest.raises(UntrustedCode, match="PosixPath"):
        save_classical({"path": tmp_path}, CLASSES, tmp_path / "one.skops")

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("field", "value"), [("left_child", 10**6), ("feature", 99), ("right_child", 0)]
)
@pytest.mark.parametrize("is_hidden", [False, True])
def test_a_tree_that_points_out_of_itself_is_refused(
    field: str, value: int, is_hidden: bool, tmp_path: Path
):
    """scikit-learn would follow it until the process dies; a right child of 0 leads in a circle."""
    features, label, _ = make_features()
    forest = RandomForestClassifier(2, random_state=0).fit(features, label)
    tree = forest.estimators_[1].tree_
    state = tree.__getstate__()
    state["nodes"][field][0] = value
    tree.__setstate__(state)
    estimator = make_pipeline(PCA(12).fit(features), forest) if is_hidden else forest
    path = tmp_path / "one.skops"
    skops.io.dump({"classes": list(CLASSES), "estimator": estimator}, path)
    assert skops.io.load(path, trusted=list(TRUSTED))

    with pytest.raises(WeightsError, match="a tree points out of itself"):
        load_classical(path, None, CLASSES, 12)
