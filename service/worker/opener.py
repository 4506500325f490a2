"""How a runner opens slides: confined, and under a name that tells nothing of a patient."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import ServiceError
from service.sandbox.slide import open_in_sandbox, probe_sandbox
from service.sandbox.wire import SandboxLimits, SandboxMode
from service.settings import Settings
from service.worker.naming import neutral_name
from wsi.geometry import Box
from wsi.readers import open_slide
from wsi.readers.base import BaseSlide, read_shrunk
from wsi.slide import Slide, SlideInfo

__all__ = ["NamelessSlide", "check_sandbox", "make_opener"]

logger = logging.getLogger(__name__)


class NamelessSlide(BaseSlide):
    """A slide under another path: what is written down about it holds nobody's file name.

    `info.files` stays: the slide's identity is made of their bytes. Closing it closes the slide.
    """

    def __init__(self, slide: Slide, path: str) -> None:
        super().__init__(replace(slide.info, path=path))
        self._slide = slide

    def _read_inside(self, level: int, box: Box) -> NDArray[np.uint8]:
        return self._slide.read_level(level, box)

    def read_shrunk(self, level: int, box: Box, out: NDArray[np.uint8]) -> None:
        """As the function of that name."""
        self._require_inside(level, box)
        with self._reading():
            read_shrunk(self._slide, level, box, out)

    def _release(self) -> None:
        self._slide.close()


def make_opener(
    path: Path, settings: Settings, on_open: Callable[[SlideInfo], object]
) -> Callable[..., Slide]:
    """Opens `path`, whatever path it is called with, and tells what it found."""

    def open_nameless(
        _: str,
        mpp: float | tuple[float, float] | None = None,
        reader: str = "auto",
        *,
        apply_icc: bool = False,
    ) -> Slide:
        slide = _opener(settings)(path, mpp, reader, apply_icc=apply_icc)
        try:
            on_open(slide.info)
        except BaseException:
            slide.close()
            raise
        return NamelessSlide(slide, neutral_name(path))

    return open_nameless


def check_sandbox(settings: Settings) -> dict[str, Any]:
    """What confines readers here, as a worker's signs of life say it.

    Raises ServiceError where it is required and the system cannot; DecoderCrashed, DecoderTimeout.
    """
    if settings.sandbox == "off":
        logger.warning("slides are opened without a sandbox: WSI_SANDBOX=off")
        return {"wanted": "off"}
    mode = probe_sandbox()
    if settings.sandbox == "required" and not _is_confined(mode):
        raise ServiceError(
            f"WSI_SANDBOX=required, but this system confines a reader only so far: "
            f"{mode.to_json()}; use Linux 5.13 or later with Landlock, or WSI_SANDBOX=best"
        )
    missing = [lock for lock, is_there in mode.to_json().items() if not is_there]
    if missing:
        logger.warning("readers of slides are not confined by %s here", ", ".join(missing))
    return {"wanted": settings.sandbox, **mode.to_json()}


def _is_confined(mode: SandboxMode) -> bool:
    """A network namespace is a second lock on a door that seccomp has shut."""
    return mode.landlock and mode.seccomp and mode.rlimits


def _opener(settings: Settings) -> Callable[..., Slide]:
    if settings.sandbox == "off":
        return open_slide
    limits = SandboxLimits(
        memory_bytes=settings.reader_memory_bytes,
        open_timeout_s=settings.reader_timeout_s,
        read_timeout_s=settings.reader_timeout_s,
    )

    def open_confined(*arguments: Any, **options: Any) -> Slide:
        return open_in_sandbox(*arguments, **options, limits=limits)

    return open_confined
