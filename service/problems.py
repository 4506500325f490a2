"""How the service answers each error: one table from error class to HTTP status and problem type.

RFC 9457. A job that failed keeps the same object. To add one: a line in PROBLEMS, a line in SLUGS.
"""

import errno
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import exc as database_errors

from models import errors as model_errors
from service import errors
from wsi import errors as slide_errors

__all__ = [
    "MEDIA_TYPE",
    "PROBLEMS",
    "SLUGS",
    "ProblemType",
    "Refusal",
    "problem",
    "problem_of",
    "public_sentence",
    "slug_of",
]

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True)
class ProblemType:
    """What all problems of one `type` share."""

    status: int
    title: str
    retry_after_s: int | None = None  # where trying again later may help

    @property
    def is_our_fault(self) -> bool:
        """Its cause is for the operator's log, and no client's business."""
        return self.status == 500


class Refusal(errors.ServiceError):
    """What HTTP itself wants refused, and no layer below knows: slug, and headers of the answer."""

    def __init__(self, slug: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.slug = slug
        self.headers = dict(headers or {})


PROBLEMS: dict[str, ProblemType] = {
    # the request
    "invalid-request": ProblemType(400, "The request cannot be understood"),
    "invalid-body": ProblemType(422, "The body is not what this address takes"),
    "invalid-option": ProblemType(422, "An option has a value that it cannot have"),
    "unknown-model": ProblemType(422, "There is no such model here"),
    "not-authenticated": ProblemType(401, "A key or token is needed"),
    "not-allowed": ProblemType(403, "This key or token may not do this"),
    "not-found": ProblemType(404, "There is no such thing"),
    "method-not-allowed": ProblemType(405, "This address does not take this method"),
    "not-acceptable": ProblemType(406, "None of the accepted types is made here"),
    "upload-stalled": ProblemType(408, "The body stopped coming"),
    "conflict": ProblemType(409, "The thing is not in a state that allows this"),
    "cancelled": ProblemType(409, "Somebody cancelled the job"),
    "result-expired": ProblemType(410, "The result is not kept any more"),
    "length-required": ProblemType(411, "The length of the body has to be stated"),
    "precondition-failed": ProblemType(412, "The thing has changed"),
    "too-large": ProblemType(413, "The body is too large"),
    "misdirected": ProblemType(421, "This server does not answer for that name"),
    "unsupported-media": ProblemType(415, "A body of this type is not taken here"),
    "range-not-satisfiable": ProblemType(416, "The file has no such range"),
    "idempotency-mismatch": ProblemType(422, "The Idempotency-Key was used for another request"),
    "checksum-mismatch": ProblemType(422, "The bytes are not those that the digest names"),
    "too-many-requests": ProblemType(429, "Too many requests", 10),
    "queue-full": ProblemType(429, "Too many jobs wait", 30),
    "quota-exceeded": ProblemType(507, "Your share of the disk is used up"),
    "no-space": ProblemType(507, "The disk is full", 300),
    # the slide
    "slide-changed": ProblemType(409, "The slide's file is not the one that was added"),
    "unsupported-format": ProblemType(422, "The file is no slide that can be read here"),
    "corrupt-slide": ProblemType(422, "The slide is damaged"),
    "no-mpp": ProblemType(422, "The slide does not state its resolution"),
    "slide-too-large": ProblemType(422, "The slide has more pixels than a slide can have"),
    "picture-too-large": ProblemType(422, "The picture would take too many pixels of the slide"),
    "slide-too-coarse": ProblemType(422, "The slide shows too little detail for the model"),
    "archive-unsafe": ProblemType(422, "The archive holds what no honest slide has"),
    "decoder-crashed": ProblemType(422, "Reading the slide ended the reader"),
    "decoder-timeout": ProblemType(422, "Reading the slide took too long"),
    "job-timeout": ProblemType(422, "The job ran longer than it may"),
    # the service
    "gpu-unavailable": ProblemType(503, "The device for the model is not available", 60),
    "not-ready": ProblemType(503, "The service is not ready", 10),
    "busy": ProblemType(503, "The service is busy", 5),
    "worker-lost": ProblemType(500, "The job lost its worker too often"),
    "model-changed": ProblemType(409, "The worker's model or release is not that of the request"),
    "model-unusable": ProblemType(500, "The model cannot be used"),
    "internal-error": ProblemType(500, "Something went wrong on the server"),
}
"""Slug to status and title; `type` is the relative URI /problems/<slug>."""

SLUGS: dict[type[BaseException], str] = {
    slide_errors.SlideNotFound: "not-found",
    slide_errors.UnsupportedSlide: "unsupported-format",
    slide_errors.CorruptSlide: "corrupt-slide",
    slide_errors.MissingResolution: "no-mpp",
    slide_errors.SlideTooLarge: "slide-too-large",
    slide_errors.SlideTooCoarse: "slide-too-coarse",
    slide_errors.InvalidGrid: "invalid-option",
    slide_errors.InvalidMask: "invalid-option",
    slide_errors.InvalidOption: "invalid-option",
    slide_errors.StoreGone: "result-expired",
    slide_errors.WsiError: "internal-error",  # of stores and results: nothing that a client did
    model_errors.UnknownModel: "unknown-model",
    model_errors.DeviceError: "gpu-unavailable",
    model_errors.ModelError: "model-unusable",
    errors.InvalidRequest: "invalid-request",
    errors.Stopped: "cancelled",
    errors.NotFound: "not-found",
    errors.Conflict: "conflict",
    errors.ResultExpired: "result-expired",
    errors.IdempotencyMismatch: "idempotency-mismatch",
    errors.NotAuthenticated: "not-authenticated",
    errors.NotAllowed: "not-allowed",
    errors.TooManyRequests: "too-many-requests",
    errors.QueueFull: "queue-full",
    errors.Busy: "busy",
    errors.QuotaExceeded: "quota-exceeded",
    errors.NoSpace: "no-space",
    errors.TooLarge: "too-large",
    errors.UnsupportedMedia: "unsupported-media",
    errors.UploadStalled: "upload-stalled",
    errors.ArchiveUnsafe: "archive-unsafe",
    errors.ChecksumMismatch: "checksum-mismatch",
    errors.SlideChanged: "slide-changed",
    errors.PictureTooLarge: "picture-too-large",
    errors.ModelChanged: "model-changed",
    errors.DecoderCrashed: "decoder-crashed",
    errors.DecoderTimeout: "decoder-timeout",
    errors.JobTimeout: "job-timeout",
    errors.ServiceError: "internal-error",
    database_errors.OperationalError: "busy",
    database_errors.TimeoutError: "busy",
    database_errors.DataError: "invalid-request",  # PostgreSQL's, of a NUL in an id for example
}
"""Error class to slug; of a class that is not here, its nearest base counts."""

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)

HIDDEN_DETAILS = {
    "busy": "The database did not answer in time; send the request again.",
    "invalid-request": "A value in the request is too long, or holds a character that no id has.",
    "no-space": "There is no room on the server's disk; send the request again later.",
}
"""What is said instead of an error's own message, where that is a library's."""

OUR_FAULT = "The server's log says more under this request's or job's id."

SERVER_PATH = re.compile(
    r"(?<![\w./:<])(?!/v1/|/problems/|/viewer)(?:"
    r"(?<=')/[^'\n]+(?=')|(?<=\")/[^\"\n]+(?=\")"  # between quotes, or a slide's: blanks and all
    r"|/[^\s:'\"`;<>][^:'\"`;<>\n]*?\."
    r"(?i:bif|dcm|jpe?g|mrxs|ndpi|png|scn|svs|svslide|tiff?|vms|vmu)(?![\w.])"
    r"|(?:/[^\s/:'\"`,;()<>]+){2,}/?)"
)
"""A path of the server in a sentence. Slides below shared folders are often called as somebody
pleased, `Doe, John.svs`; where a slide is known its path is left out by itself."""


def slug_of(error: BaseException) -> str:
    """Key of PROBLEMS; "internal-error" for what nobody foresaw."""
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return "no-space"
    if isinstance(error, Refusal):
        return error.slug
    return next((SLUGS[cls] for cls in type(error).__mro__ if cls in SLUGS), "internal-error")


def problem(slug: str, detail: str, **more: Any) -> dict[str, Any]:
    """The object of RFC 9457, as JSON types; `more`: instance, request_id, errors …"""
    kind = PROBLEMS[slug]
    return {
        "type": f"/problems/{slug}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        **more,
    }


def problem_of(
    error: BaseException, hide: Mapping[str, str] | None = None, **more: Any
) -> dict[str, Any]:
    """The problem that an error is. `hide`: text that must not be shown → what stands for it.

    Paths of the server are taken out in any case, and what is our fault is not explained.
    """
    slug = slug_of(error)
    if PROBLEMS[slug].is_our_fault:
        return problem(slug, OUR_FAULT, **more)
    if not isinstance(error, (slide_errors.WsiError, model_errors.ModelError, errors.ServiceError)):
        return problem(slug, HIDDEN_DETAILS.get(slug, OUR_FAULT), **more)
    return problem(slug, public_sentence(str(error), hide), **more)


def public_sentence(text: str, hide: Mapping[str, str] | None = None) -> str:
    """An error's message without what `hide` names and without paths of the server."""
    for secret in sorted(hide or {}, key=len, reverse=True):
        text = text.replace(secret, (hide or {})[secret])
    return SERVER_PATH.sub("a file of the server", text)
