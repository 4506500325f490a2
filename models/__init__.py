"""Tile classifiers: cards, networks, inference, training, evaluation.

Names load when they are used, so that `import models` brings no torch.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "Classifier": "models.infer",
    "MeanChannelClassifier": "models.painted",
    "ModelCard": "models.card",
    "ModelError": "models.errors",
    "evaluate": "models.evaluate",
    "list_models": "models.registry",
    "load_classifier": "models.infer",
    "read_card": "models.card",
    "resolve_model": "models.registry",
    "score_tiles": "models.infer",
    "write_card": "models.card",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'models' has no attribute {name!r}")
