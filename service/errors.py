"""What can go wrong above slides and models."""

__all__ = ["InvalidRequest", "ServiceError", "Stopped"]


class ServiceError(Exception):
    """Base of every error that this package raises on purpose."""


class InvalidRequest(ServiceError):
    """Options that contradict each other, or an input list that cannot be read."""


class Stopped(ServiceError):
    """Somebody cancelled; what was done is kept for the next run."""
