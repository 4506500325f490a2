"""How annotated slides are cut into labelled patches."""

from dataclasses import dataclass

from models.datasets.bach import PICTURE_MPP
from models.datasets.patch_labels import COVERAGE
from service.errors import InvalidRequest
from wsi.mask import MASK_METHODS

__all__ = ["PatchRequest"]


@dataclass(frozen=True)
class PatchRequest:
    """What determines the patches of a slide. Raises InvalidRequest."""

    mpp: float = PICTURE_MPP  # of the patches
    patch_px: int = 512  # one tile of every recipe for BACH: 256 px at 0.84 um/px
    coverage: float = COVERAGE
    min_tissue: float = 0.5  # a patch of mostly glass would teach that glass is normal
    mask: str = "saturation"
    slide_mpp: float | None = None  # of all slides; counts more than what the files state
    reader: str = "auto"
    mend: bool = False
    upsample: bool = False

    def __post_init__(self) -> None:
        if not 0.5 < self.coverage <= 1:
            raise InvalidRequest(
                f"coverage {self.coverage:g}: use more than 0.5, so that only one class can have a "
                "patch, to 1"
            )
        if not 0 <= self.min_tissue <= 1:
            raise InvalidRequest(f"least tissue fraction {self.min_tissue:g}: use 0 to 1")
        if self.mask not in MASK_METHODS:
            raise InvalidRequest(
                f"mask {self.mask!r}: use {', '.join(MASK_METHODS)}; one picture fits no ten slides"
            )
