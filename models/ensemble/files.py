"""Estimators of scikit-learn on disk, kept by skops: what they are made of, and no code.

A file with a type that is not listed here is refused, and so are trees whose nodes point out of
themselves: scikit-learn follows them without a look, and the process would die of it.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.errors import UntrustedCode, WeightsError
from wsi.store.folder import partial_file

__all__ = ["load_classical", "save_classical"]

TRUSTED = (
    "sklearn.tree._tree.Tree",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
)
"""What skops asks to be told; trees are looked at afterwards."""

TYPES = frozenset(
    {
        *TRUSTED,
        "builtins.dict",
        "builtins.list",
        "builtins.set",
        "builtins.str",
        "builtins.tuple",
        "numpy.bool",
        "numpy.dtype",
        "numpy.float32",
        "numpy.float64",
        "numpy.int32",
        "numpy.int64",
        "numpy.ndarray",
        "numpy.random.mtrand.RandomState",
        "sklearn._loss._loss.CyHalfMultinomialLoss",
        "sklearn._loss._loss.CyHalfBinomialLoss",
        "sklearn._loss.link.Interval",
        "sklearn._loss.link.LogitLink",
        "sklearn._loss.link.MultinomialLogit",
        "sklearn._loss.loss.HalfBinomialLoss",
        "sklearn._loss.loss.HalfMultinomialLoss",
        "sklearn.calibration.CalibratedClassifierCV",
        "sklearn.decomposition._pca.PCA",
        "sklearn.dummy.DummyClassifier",
        "sklearn.ensemble._forest.RandomForestClassifier",
        "sklearn.ensemble._gb.GradientBoostingClassifier",
        "sklearn.pipeline.Pipeline",
        "sklearn.preprocessing._data.StandardScaler",
        "sklearn.svm._classes.SVC",
        "sklearn.tree._classes.DecisionTreeClassifier",
        "sklearn.tree._classes.DecisionTreeRegressor",
    }
)
"""All that a file may hold. Shorter than what skops lets in by itself."""

EPOCH = (1980, 1, 1, 0, 0, 0)  # the first time that a ZIP file knows
ADDRESS = re.compile(r'("__id__": |"file": ")(\d+)')
ARRAY = re.compile(r"(\d+)(\.np[yz])")


def save_classical(estimator: Any, classes: Sequence[str], path: Path) -> str:
    """Whole or not at all; the sha256 of the file. Equal estimators make equal files.

    Raises UntrustedCode where it is made of types that load_classical() would refuse.
    """
    import skops.io  # type: ignore[import-untyped]

    content = _settled(skops.io.dumps({"classes": list(classes), "estimator": estimator}))
    _require_listed(content, path)
    with partial_file(path) as partial:
        partial.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def load_classical(
    path: Path, sha256: str | None, classes: Sequence[str], feature_count: int
) -> Any:
    """An estimator with predict_proba(float32 (n, feature_count)) → (n, classes).

    Raises WeightsError where the file is not the pinned one, damaged, or of other classes or
    features; UntrustedCode where it holds a type that is not listed.
    """
    import skops.io

    content = _read_pinned(path, sha256)
    try:
        _require_listed(content, path)
        stored = skops.io.loads(content, trusted=list(TRUSTED))
        stated, estimator = stored["classes"], stored["estimator"]
        known, width = len(estimator.classes_), estimator.n_features_in_
        for tree in _trees(estimator):
            _require_sound(tree, width)
    except UntrustedCode:
        raise
    # whatever a damaged file, or one of another version, makes skops and scikit-learn raise
    except Exception as error:
        raise WeightsError(
            f"{path} is no classifier that this scikit-learn can use ({error!r:.200}); copy it "
            "again, or train the ensemble with this version"
        ) from error
    if stated != list(classes) or known != len(classes):
        raise WeightsError(f"{path} was trained for {stated}, but its card has {list(classes)}")
    if width != feature_count:
        raise WeightsError(
            f"{path} looks at {width} features, but the card's networks have {feature_count}; "
            "use the card that it came with"
        )
    return estimator


def _settled(content: bytes) -> bytes:
    """The same file without what differs from run to run: addresses in memory, and the time."""
    numbers: dict[str, str] = {}

    def number(address: str) -> str:
        return numbers.setdefault(address, str(len(numbers) + 1))

    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as given, zipfile.ZipFile(out, "w") as made:
        schema = ADDRESS.sub(lambda at: at[1] + number(at[2]), given.read("schema.json").decode())
        arrays = {
            ARRAY.sub(lambda at: number(at[1]) + at[2], name): name
            for name in given.namelist()
            if name != "schema.json"
        }
        for name in sorted(arrays):
            _add(made, name, given.read(arrays[name]))
        _add(made, "schema.json", schema.encode())
    return out.getvalue()


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    info = zipfile.ZipInfo(name, EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(info, content)


def _read_pinned(path: Path, sha256: str | None) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: the classifier cannot be read ({error.strerror})") from error
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256:
        raise WeightsError(
            f"{path} has sha256 {found}, but its card pins {sha256}; copy it again, or use the "
            "card that came with it"
        )
    return content


def _require_listed(content: bytes, path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        schema = json.loads(archive.read("schema.json"))
    strange = sorted(set(_types(schema)) - TYPES)
    if strange:
        raise UntrustedCode(
            f"{path} holds {', '.join(strange[:3])}, which no classifier of an ensemble needs; "
            "train the ensemble again rather than load it"
        )


def _types(node: Any) -> Iterator[str]:
    """Every type that a skops schema names, at any depth."""
    if isinstance(node, Mapping):
        if "__class__" in node or "__module__" in node:
            yield f"{node.get('__module__')}.{node.get('__class__')}"
        for value in node.values():
            yield from _types(value)
    elif isinstance(node, list):
        for value in node:
            yield from _types(value)


def _trees(part: Any) -> Iterator[Any]:
    """Every sklearn.tree._tree.Tree that an estimator is made of, wherever in it."""
    if f"{type(part).__module__}.{type(part).__name__}" == TRUSTED[0]:
        yield part
        return
    if isinstance(part, np.ndarray):
        inside = part.ravel().tolist() if part.dtype == object else []
    elif isinstance(part, Mapping):
        inside = list(part.values())
    else:
        inside = list(part) if isinstance(part, (list, tuple, set)) else []
    for one in [*inside, *getattr(part, "__dict__", {}).values()]:
        yield from _trees(one)


def _require_sound(tree: Any, width: int) -> None:
    """A node's children come after it, and it asks for a feature that is there."""
    left, right, feature = tree.children_left, tree.children_right, tree.feature
    node = np.arange(tree.node_count)
    inner = left != -1
    is_sound = (
        tree.node_count > 0
        and tree.n_features == width
        and np.array_equal(inner, right != -1)
        and all(((node < side) & (side < tree.node_count))[inner].all() for side in (left, right))
        and ((feature >= 0) & (feature < width))[inner].all()
    )
    if not is_sound:
        raise ValueError("a tree points out of itself")
