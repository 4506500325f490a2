"""From the options of a request to a job for the queue. Pure: no file, no database, no clock."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from packaging.version import Version

from models.card import ModelCard
from service.errors import ModelChanged
from service.jobs import NewJob
from service.request import DEFAULT_MIN_TISSUE, HeatmapRequest
from service.results import work_sha256
from wsi.errors import InvalidOption
from wsi.geometry import MPP_RANGE, is_plausible_mpp

__all__ = [
    "ALWAYS",
    "CHOICES",
    "MAX_PRIORITY",
    "Asked",
    "heatmap_request",
    "require_same_model",
    "require_valid",
    "submission",
    "work_key",
]

ALWAYS = ("ome-zarr", "png", "csv", "geojson", "regions", "ome-tiff")
"""What every result holds: each has an address of its own."""

CHOICES = ("overlay", "hdf5", "report")
"""What a client may ask for besides: they show the slide, or hold what others hold already."""

MAX_PRIORITY = 100

IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,200}")

WORKERS_OWN = ("slide", "batch_size", "device", "trust_code")
"""Fields of HeatmapRequest that no client has a say in."""

PROMISED = ("card_sha256", "version")
"""What the key of a job's work was made of, and only the worker's side can hold it to."""


@dataclass(frozen=True)
class Asked:
    """The options of one request, checked as far as they can be without the slide."""

    mpp: float | None = None  # um/px of the slide's level 0
    stride_px: int | None = None
    window: str = "uniform"
    mask: str = "saturation"
    min_tissue: float = DEFAULT_MIN_TISSUE
    upsample: bool = False
    icc: bool = False
    tta: bool = False
    outputs: tuple[str, ...] = ()  # of CHOICES
    priority: int = 0
    idempotency_key: str | None = None


def submission(
    tenant: str,
    slide_id: str,
    slide_sha256: str,
    card: ModelCard,
    model: str,
    asked: Asked,
    *,
    version: str,
    precision: str = "auto",
    batch_id: str | None = None,
    key_id: str | None = None,
) -> NewJob:
    """The job that makes what was asked of a slide.

    `model`: what a worker resolves to `card`, a name or a folder. `precision`: the service's own,
    of HeatmapRequest. Raises InvalidOption.
    """
    require_valid(asked, card)
    request = _request(model, asked, precision)
    return NewJob(
        tenant=tenant,
        slide_id=slide_id,
        work_key=work_key(slide_sha256, card, request, version),
        request=_json_from_request(request) | {"card_sha256": card.sha256, "version": version},
        priority=asked.priority,
        batch_id=batch_id,
        idempotency_key=asked.idempotency_key,
        key_id=key_id,
    )


def heatmap_request(
    fields: Mapping[str, Any], slide: str, *, device: str, batch_size: int
) -> HeatmapRequest:
    """What a worker runs: the `request` of a job, with the slide's path and the worker's own
    settings."""
    left_out = WORKERS_OWN + PROMISED
    given = {name: value for name, value in fields.items() if name not in left_out}
    given["formats"] = tuple(given["formats"])
    return HeatmapRequest(slide=slide, device=device, batch_size=batch_size, **given)


def require_same_model(fields: Mapping[str, Any], card: ModelCard, version: str) -> None:
    """Raises ModelChanged where the `request` of a job was made for another model, or for a later
    release, than the worker has: its result would stand under the name of work that nobody did.
    A job that an earlier release took in is done; its manifest says by which release."""
    if fields.get("card_sha256", card.sha256) != card.sha256:
        raise ModelChanged(
            f"the files of the model {card.name} were replaced after the service had read them; "
            "it has to be started again, then send the job again"
        )
    if Version(fields.get("version", version)) > Version(version):
        raise ModelChanged(
            f"the job was asked of release {fields['version']} and the worker is {version}; "
            "upgrade the worker, then send the job again"
        )


def work_key(slide_sha256: str, card: ModelCard, request: HeatmapRequest, version: str) -> str:
    """Names work before anybody has opened the slide: equal keys give equal results.

    The slide by its bytes, the model by its card and weights, every option that changes the result,
    and the software; not the batch size, nor the device.
    """
    return work_sha256(
        {
            "slide_sha256": slide_sha256,
            "mpp": request.mpp,
            "reader": request.reader,
            "model": card.identity,
            "parameters": request.parameters(),
            "software": {"wsi-heatmap": version},
        }
    )


def _request(model: str, asked: Asked, precision: str) -> HeatmapRequest:
    return HeatmapRequest(
        slide="",
        model=model,
        mpp=asked.mpp,
        stride_px=asked.stride_px,
        window=asked.window,
        mask=asked.mask,
        min_tissue=asked.min_tissue,
        upsample=asked.upsample,
        icc=asked.icc,
        tta=asked.tta,
        precision=precision,
        formats=ALWAYS + tuple(name for name in CHOICES if name in asked.outputs),
    )


def _json_from_request(request: HeatmapRequest) -> dict[str, Any]:
    fields = {k: v for k, v in asdict(request).items() if k not in WORKERS_OWN}
    return fields | {"formats": list(request.formats)}


def require_valid(asked: Asked, card: ModelCard) -> None:
    """Refuses before the upload what a worker would refuse after it. Raises InvalidOption."""
    if asked.mpp is not None and not is_plausible_mpp(asked.mpp):
        low, high = MPP_RANGE
        raise InvalidOption(f"mpp {asked.mpp:g}: use {low:g} to {high:g} micrometres a pixel")
    if asked.stride_px is not None and not 1 <= asked.stride_px <= card.tile_px:
        raise InvalidOption(
            f"stride {asked.stride_px}: use 1 to {card.tile_px}, the tile size of {card.name}"
        )
    _check_names(asked)
    if abs(asked.priority) > MAX_PRIORITY:
        raise InvalidOption(f"priority {asked.priority}: use -{MAX_PRIORITY} to {MAX_PRIORITY}")
    if asked.idempotency_key is not None and not IDEMPOTENCY_KEY.fullmatch(asked.idempotency_key):
        raise InvalidOption("Idempotency-Key: use 1 to 200 printable ASCII characters, no spaces")


def _check_names(asked: Asked) -> None:
    """A mask that is no method would be taken for a path of the server."""
    from wsi.mask import MASK_METHODS

    if asked.mask not in MASK_METHODS:
        raise InvalidOption(f"mask {asked.mask!r}: use one of {', '.join(MASK_METHODS)}")
    unknown = [name for name in asked.outputs if name not in ALWAYS + CHOICES]
    if unknown:
        raise InvalidOption(
            f"output {unknown[0]!r}: use one of {', '.join(ALWAYS + CHOICES)}; "
            f"the first {len(ALWAYS)} come always"
        )
    if not 0 <= asked.min_tissue <= 1:
        raise InvalidOption(f"min_tissue {asked.min_tissue:g}: use a fraction, 0 to 1")
