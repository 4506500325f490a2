"""What can go wrong above slides and models. `service.problems` says how HTTP answers each."""

__all__ = [
    "ArchiveUnsafe",
    "Busy",
    "ChecksumMismatch",
    "Conflict",
    "DecoderCrashed",
    "DecoderTimeout",
    "IdempotencyMismatch",
    "InvalidRequest",
    "JobTimeout",
    "ModelChanged",
    "NoSpace",
    "NotAllowed",
    "NotAuthenticated",
    "NotFound",
    "PictureTooLarge",
    "QueueFull",
    "QuotaExceeded",
    "ResultExpired",
    "ServiceError",
    "SlideChanged",
    "Stopped",
    "TooLarge",
    "TooManyRequests",
    "UnsupportedMedia",
    "UploadStalled",
]


class ServiceError(Exception):
    """Base of every error that this package raises on purpose."""


class InvalidRequest(ServiceError):
    """Options that contradict each other, or an input list that cannot be read."""


class Stopped(ServiceError):
    """Somebody cancelled; what was done is kept for the next run."""


class NotFound(ServiceError):
    """No such thing, or another tenant's: the two read the same."""


class Conflict(ServiceError):
    """The thing is not in a state that allows it."""


class ResultExpired(ServiceError):
    """The result was there, and its time of keeping is over."""


class IdempotencyMismatch(Conflict):
    """The same Idempotency-Key came with another request."""


class NotAuthenticated(ServiceError):
    """No key or token, or one that is wrong, revoked or expired."""


class NotAllowed(ServiceError):
    """A key or token that may not do this."""


class TooManyRequests(ServiceError):
    """More requests than one tenant may send in a while."""


class QueueFull(TooManyRequests):
    """More jobs wait than the operator allows."""


class Busy(ServiceError):
    """All of what a request needs is in use for the moment."""


class QuotaExceeded(ServiceError):
    """A tenant's share of the disk is used up."""


class NoSpace(ServiceError):
    """The disk has less room than the work needs."""


class TooLarge(ServiceError):
    """A body over the limit."""


class UnsupportedMedia(ServiceError):
    """A body of a type that holds no slide."""


class UploadStalled(InvalidRequest):
    """A body of which nothing came for longer than the operator waits."""


class ArchiveUnsafe(ServiceError):
    """A zip file with names, links or sizes that no honest slide has."""


class ChecksumMismatch(ServiceError):
    """The bytes that came are not those that the client's digest names."""


class PictureTooLarge(ServiceError):
    """A picture for viewers that more of the slide would have to be decoded for than is allowed."""


class SlideChanged(ServiceError):
    """A slide that stays in its place is not the one that was added."""


class ModelChanged(ServiceError):
    """A worker has another model, or is of another release, than the job was asked of."""


class DecoderCrashed(ServiceError):
    """The reader process died over a slide; decoding it again would end the same way."""


class DecoderTimeout(ServiceError):
    """The reader process did not answer in time, and was ended."""


class JobTimeout(ServiceError):
    """A job ran longer than the operator allows."""
