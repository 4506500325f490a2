"""What goes over the wire, in JSON: the models behind the OpenAPI document, with examples.

Times are RFC 3339, UTC. Links are absolute paths, or URLs where the operator set a public one.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.jobs import JobState
from service.request import DEFAULT_MIN_TISSUE
from service.submission import MAX_PRIORITY
from wsi.geometry import MPP_RANGE

__all__ = [
    "MAX_BATCH",
    "Artefact",
    "BatchJson",
    "BatchRequest",
    "Check",
    "JobJson",
    "JobPage",
    "JobRequest",
    "ModelJson",
    "ModelPage",
    "Params",
    "Problem",
    "Readiness",
    "ResultJson",
    "SlideJson",
    "SlidePage",
    "SlideReference",
]

MAX_BATCH = 2_000

Mpp = Annotated[
    float,
    Field(
        ge=MPP_RANGE[0],
        le=MPP_RANGE[1],
        allow_inf_nan=False,
        description="Micrometres a pixel of the slide's level 0, where the file does not state it",
        examples=[0.25],
    ),
]
StridePx = Annotated[
    int,
    Field(
        ge=1,
        le=4096,
        description="Pixels from one tile to the next, at the model's resolution; at most its tile "
        "size, which is the default: no overlap",
        examples=[25],
    ),
]
Output = Literal[
    "ome-zarr", "png", "csv", "geojson", "regions", "ome-tiff", "overlay", "hdf5", "report"
]
Model = Annotated[str, Field(min_length=1, max_length=200, examples=["idc-resnet18"])]
ID_EXAMPLE = "01K0F7X8Z6T5Q4N3M2J1H0G9FE"


class Closed(BaseModel):
    """What clients send: a field that does not exist is a mistake, not a wish."""

    model_config = ConfigDict(extra="forbid")


class Problem(BaseModel):
    """RFC 9457. `type` is stable; `detail` says what to do; never a path of the server."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "/problems/not-found",
                    "title": "There is no such thing",
                    "status": 404,
                    "detail": "no job has this id",
                    "instance": f"/v1/jobs/job_{ID_EXAMPLE}",
                    "request_id": "0b7c1f3a9d1e4c57",
                }
            ]
        },
    )

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = None
    request_id: str | None = None
    errors: list[dict[str, Any]] | None = Field(
        default=None, description="Which fields are wrong, and why", examples=[[]]
    )


class SlideReference(Closed):
    """A slide that is on the server already, instead of its bytes: one of the two."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"path": "2026/breast/a.svs"}],
            "oneOf": [{"required": ["path"]}, {"required": ["upload_id"]}],
        },
    )

    path: str | None = Field(
        default=None,
        min_length=1,
        max_length=1000,
        description="Below a folder that the operator listed",
    )
    upload_id: str | None = Field(
        default=None,
        max_length=30,
        description="Reserved for resumable uploads, which are not there yet: 404",
    )

    @model_validator(mode="after")
    def _one(self) -> "SlideReference":
        if (self.path is None) == (self.upload_id is None):
            raise ValueError("send either path or upload_id")
        return self


class Params(Closed):
    """Options that change the result."""

    mpp: Mpp | None = None
    stride: StridePx | None = None
    window: Literal["uniform", "gaussian", "hann"] = "uniform"
    mask: str = Field(
        default="saturation",
        min_length=1,
        max_length=50,
        description="How tissue is found: a method",
    )
    min_tissue: float = Field(default=DEFAULT_MIN_TISSUE, ge=0, le=1, allow_inf_nan=False)
    upsample: bool = Field(
        default=False, description="Accept a slide that is coarser than the model wants"
    )
    icc: bool = Field(default=False, description="Convert colours to sRGB by the slide's profile")
    tta: bool = Field(
        default=False,
        description="Score each tile in its 8 symmetries: the mean, and their disagreement as the "
        "channel `uncertainty`; the network takes 8 times as long",
    )


class JobRequest(Closed):
    slide_id: str = Field(max_length=30, examples=[f"sld_{ID_EXAMPLE}"])
    model: Model | None = Field(
        default=None, description="Of /v1/models; the default one where absent"
    )
    params: Params = Params()
    outputs: list[Output] = Field(
        default_factory=list,
        max_length=20,
        description="Besides ome-zarr, png, csv, geojson, regions and ome-tiff, which always come",
        examples=[["overlay"]],
    )
    priority: int = Field(
        default=0,
        ge=-MAX_PRIORITY,
        le=MAX_PRIORITY,
        description="Of your jobs the larger goes first",
    )


class BatchRequest(Closed):
    """Slides by id, or by a pattern below a folder that the operator listed."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"slides": [f"sld_{ID_EXAMPLE}"]}],
            "oneOf": [{"required": ["slides"]}, {"required": ["root", "glob"]}],
        },
    )

    slides: list[Annotated[str, Field(max_length=30)]] | None = Field(
        default=None, min_length=1, max_length=MAX_BATCH
    )
    root: str | None = Field(
        default=None, min_length=1, max_length=1000, description="A folder that the operator listed"
    )
    glob: str | None = Field(default=None, min_length=1, max_length=200, examples=["**/*.svs"])
    model: Model | None = None
    params: Params = Params()
    outputs: list[Output] = Field(default_factory=list, max_length=20)
    priority: int = Field(default=0, ge=-MAX_PRIORITY, le=MAX_PRIORITY)

    @model_validator(mode="after")
    def _one(self) -> "BatchRequest":
        by_id, by_glob = self.slides is not None, self.root is not None and self.glob is not None
        if by_id == by_glob or (by_id and (self.root or self.glob)):
            raise ValueError("send either slides, or root and glob")
        return self


class JobLinks(BaseModel):
    self: str
    events: str
    cancel: str
    slide: str
    result: str | None = Field(description="Once it has succeeded")


class JobJson(BaseModel):
    id: str = Field(examples=[f"job_{ID_EXAMPLE}"])
    state: JobState
    stage: str | None = Field(description="Of the pipeline, while it runs", examples=["score"])
    done: int = Field(description="Units of the stage", examples=[2048])
    total: int = Field(description="0 where unknown", examples=[9216])
    queue_position: int | None = Field(description="Jobs that go before it; null unless queued")
    eta_s: float | None = Field(description="Seconds to the end of scoring; null where unknown")
    attempt: int = Field(examples=[1])
    cached: bool = Field(description="Equal work had been done before")
    slide_id: str = Field(examples=[f"sld_{ID_EXAMPLE}"])
    model: str = Field(examples=["idc-resnet18"])
    priority: int
    batch_id: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: Problem | None = Field(description="Why it failed")
    result_id: str | None = Field(description="Once it has succeeded")
    links: JobLinks


class JobPage(BaseModel):
    items: list[JobJson]
    next_cursor: str | None = Field(description="For ?cursor=; null on the last page")


class SlideLinks(BaseModel):
    self: str
    dzi: str
    thumbnail: str


class SlideJson(BaseModel):
    id: str = Field(examples=[f"sld_{ID_EXAMPLE}"])
    sha256: str = Field(description="Of the bytes that came")
    size_bytes: int
    kind: str = Field(examples=["file"])
    size0: tuple[int, int] | None = Field(description="Width and height of level 0, px; once known")
    mpp: tuple[float, float] | None = Field(description="um/px of level 0, x and y; once known")
    created_at: datetime
    links: SlideLinks


class SlidePage(BaseModel):
    items: list[SlideJson]
    next_cursor: str | None


class BatchLinks(BaseModel):
    self: str
    report: str


class BatchJson(BaseModel):
    id: str = Field(examples=[f"bat_{ID_EXAMPLE}"])
    created_at: datetime
    counts: dict[JobState, int] = Field(examples=[{"queued": 3, "running": 1, "succeeded": 12}])
    refused: int = Field(description="Slides without a job: the report says why")
    is_done: bool = Field(description="No job of it is queued or running")
    jobs: list[str] = Field(description="Ids, in the order of the request")
    links: BatchLinks


class Artefact(BaseModel):
    name: str = Field(examples=["heatmap.tif"])
    media_type: str = Field(examples=["image/tiff"])
    size_bytes: int
    sha256: str = Field(description="Of a folder: of its files' sha256 and names, one a line")
    href: str


class ResultModel(BaseModel):
    name: str
    version: str
    card_sha256: str
    weights_sha256: str | None


class ResultSlide(BaseModel):
    size0: tuple[int, int] = Field(description="Width and height of level 0, px")
    mpp: tuple[float, float] | None = Field(description="um/px of level 0, x and y")
    bounds0: tuple[int, int, int, int] | None = Field(
        description="x, y, width, height of the scanned part, level-0 px"
    )


class ResultLinks(BaseModel):
    self: str
    job: str
    slide: str


class ResultJson(BaseModel):
    id: str = Field(examples=[f"res_{ID_EXAMPLE}"])
    job_id: str
    slide_id: str
    created_at: datetime
    model: ResultModel
    classes: list[str] = Field(examples=[["non_idc", "idc"]])
    channels: list[str] = Field(
        description="What the heatmap shows besides, to be asked for as a class is",
        examples=[["raw", "uncertainty"]],
    )
    positive_class: str
    parameters: dict[str, Any]
    grid: dict[str, Any] = Field(description="Tiles: side and stride in px at mpp, bounds0")
    slide: ResultSlide
    statistics: dict[str, Any] = Field(description="Areas in mm2, probabilities, regions")
    warnings: list[str]
    outcome: str = Field(examples=["heatmap"], description="heatmap, or no-tissue")
    artefacts: list[Artefact]
    links: ResultLinks


class ModelJson(BaseModel):
    """A model's card, as it is on disk, with its sha256."""

    model_config = ConfigDict(extra="allow")

    name: str
    version: str
    sha256: str = Field(description="Of the card in canonical JSON")
    is_default: bool
    class_names: list[str]
    positive_class: str
    threshold: float
    patch_size_pixels: int
    spacing_um_px: float
    intended_use: str
    limits: list[str]


class ModelPage(BaseModel):
    items: list[ModelJson]
    next_cursor: None = None


class Check(BaseModel):
    name: str = Field(examples=["database"])
    ok: bool
    detail: str


class Readiness(BaseModel):
    ready: bool
    checks: list[Check]
