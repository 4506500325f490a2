"""What somebody asks for: a slide, a model, and how to look."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from service.errors import InvalidRequest

__all__ = [
    "DEFAULT_FORMATS",
    "DEFAULT_MIN_TISSUE",
    "DEFAULT_MODEL",
    "MASK_FRAMES",
    "PRECISIONS",
    "WINDOWS",
    "HeatmapRequest",
]

DEFAULT_MODEL = "idc-resnet18"
DEFAULT_MIN_TISSUE = 0.1  # wsi.grid.MIN_TISSUE, here so that `wsi --help` loads no numpy
WINDOWS = ("uniform", "gaussian", "hann")  # the keys of wsi.heatmap.WINDOWS, likewise
MASK_FRAMES = ("qupath", "level0")  # wsi.user_mask.Frame, likewise
PRECISIONS = ("auto", "float32", "bfloat16", "float16", "int8")  # models.network's, and int8
DEFAULT_FORMATS = ("ome-zarr", "png", "overlay", "csv", "geojson", "report")


@dataclass(frozen=True)
class HeatmapRequest:
    """JSON in: everything that a worker needs to make one heatmap."""

    slide: str  # path or URL
    model: str = DEFAULT_MODEL
    mpp: float | None = None  # of the slide's level 0, where the file does not state it
    reader: str = "auto"
    stride_px: int | None = None  # at the model's resolution; None: the tile size, no overlap
    window: str = "uniform"  # how overlapping tiles are weighted
    mask: str = "saturation"  # key of MASK_METHODS, or the path of the user's own mask
    mask_frame: str | None = None  # of MASK_FRAMES, of a GeoJSON; None: as the file says, or qupath
    min_tissue: float = DEFAULT_MIN_TISSUE
    upsample: bool = False  # accept a slide that is coarser than the model expects
    icc: bool = False  # convert colours to sRGB by the slide's profile
    tta: bool = False  # show the model each tile in its 8 symmetries, at 8 times the cost
    precision: str = "auto"  # of the network; auto: 32 bits, or 16 where the device has them
    formats: tuple[str, ...] = DEFAULT_FORMATS
    batch_size: int = 128  # tiles; changes no score
    device: str = "auto"
    trust_code: bool = False  # a TorchScript file may run the code that it holds

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InvalidRequest(f"batch size {self.batch_size}: use 1 or more")
        if self.window not in WINDOWS:
            raise InvalidRequest(f"window {self.window!r}: use one of {', '.join(WINDOWS)}")
        if self.mask_frame not in (None, *MASK_FRAMES):
            raise InvalidRequest(
                f"mask frame {self.mask_frame!r}: use one of {', '.join(MASK_FRAMES)}"
            )
        if self.precision not in PRECISIONS:
            raise InvalidRequest(
                f"precision {self.precision!r}: use one of {', '.join(PRECISIONS)}"
            )

    def __repr__(self) -> str:
        """Dask logs it, and a slide's address may hold a password."""
        from wsi.address import public_path

        shown = asdict(self) | {"slide": public_path(self.slide)}
        return f"HeatmapRequest({', '.join(f'{name}={shown[name]!r}' for name in shown)})"

    @property
    def name(self) -> str:
        """Of the slide, for its result's folder."""
        from wsi.slide import slide_name

        return slide_name(self.slide)

    @property
    def has_own_mask(self) -> bool:
        from wsi.mask import MASK_METHODS

        return self.mask not in MASK_METHODS

    def parameters(self) -> dict[str, Any]:
        """The options that change the result, for hashes; a mask file stands for its bytes, and its
        frame is there only where somebody states it and it counts."""
        from wsi.user_mask import is_geojson

        left_out = {"slide", "model", "mpp", "batch_size", "device", "trust_code", "reader"}
        if self.mask_frame is None or not self.has_own_mask or not is_geojson(self.mask):
            left_out.add("mask_frame")
        kept = {name: value for name, value in asdict(self).items() if name not in left_out}
        if self.has_own_mask:
            kept["mask"] = _mask_sha256(Path(self.mask))
        return kept | {"formats": sorted(self.formats)}


def _mask_sha256(path: Path) -> str:
    import hashlib

    from wsi.errors import InvalidMask
    from wsi.mask import MASK_METHODS

    if not path.is_file():
        raise InvalidMask(
            f"--mask {path}: no such file, and no method of that name; "
            f"use {', '.join(MASK_METHODS)}, or the path of an image or GeoJSON"
        )
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
