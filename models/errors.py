"""What can go wrong with a model. The message names the thing, its value and the way out."""

__all__ = [
    "CardError",
    "DatasetError",
    "DeviceError",
    "ModelError",
    "UnknownModel",
    "UntrustedCode",
    "WeightsError",
]


class ModelError(Exception):
    """Base of every error that this package raises on purpose."""


class UnknownModel(ModelError):
    """Neither the name of a model or an architecture here, nor a file that holds a model."""


class CardError(ModelError):
    """A model card that cannot be read, or with a field that no model can have."""


class WeightsError(ModelError):
    """Weights that are missing, damaged, not the pinned ones, or of another network."""


class UntrustedCode(ModelError):
    """A model file that would run its author's code, and that nobody said to trust."""


class DeviceError(ModelError):
    """A device that this machine lacks, or that has too little memory."""


class DatasetError(ModelError):
    """The labelled tiles are missing, damaged, or cannot be split by patient."""
