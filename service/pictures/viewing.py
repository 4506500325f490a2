"""What viewers are shown, and who may see it: the part between the routes and the pictures."""

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path

from service.access.auth import Principal
from service.errors import NotFound
from service.pictures.bytecache import ByteCache
from service.pictures.lookups import Lookups
from service.pictures.tiles import HeatmapTiles, slide_picture, slide_tile
from service.reader_pool import ReaderKey, ReaderPool
from service.sandbox.slide import open_in_sandbox
from service.sandbox.wire import SandboxLimits
from service.settings import Settings
from service.storage.artefacts import ZARR
from service.storage.library import Library, StoredSlide
from service.storage.pinned import PinnedSlides, require_unchanged
from service.storage.shelf import Shelf, StoredResult
from wsi import __version__
from wsi.deepzoom import Address, Pyramid
from wsi.errors import InvalidOption, StoreIncomplete
from wsi.geometry import Size
from wsi.slide import Slide
from wsi.view import HeatmapView

__all__ = ["SeenResult", "SeenSlide", "Viewing", "find_tile", "find_xyz"]

NEUTRAL = "the slide"
"""What errors call a slide whose file's name may be a patient's."""

KEPT_S = 2.0
"""How long a result that was allowed and there is not looked up again: one that another process
deleted, and a revoked key, are noticed so much later."""


@dataclass(frozen=True)
class SeenResult:
    """A result that the one who asks may see."""

    stored: StoredResult
    view: HeatmapView

    @property
    def heatmap(self) -> Path:
        return self.stored.folder / ZARR

    @cached_property
    def pyramid(self) -> Pyramid:
        return Pyramid(self.view.size0)

    def etag(self, *what: object) -> str:
        """Of a picture, before it is made: all that decides about its pixels."""
        return _etag(self.stored.manifest_sha256, *what)


@dataclass(frozen=True)
class SeenSlide:
    """A slide that the one who asks may see."""

    stored: StoredSlide
    size0: Size

    @cached_property
    def pyramid(self) -> Pyramid:
        return Pyramid(self.size0)

    def etag(self, *what: object) -> str:
        return _etag(self.stored.sha256, *what)


class Viewing:
    """What the viewing routes of a process share. Safe to use from several threads."""

    def __init__(
        self,
        settings: Settings,
        library: Library,
        shelf: Shelf,
        clock: Callable[[], float] = time.monotonic,
        readers: ReaderPool | None = None,
    ) -> None:
        """`readers`: by default confined ones, as the settings want them."""
        self._library, self._shelf = library, shelf
        self._readers = _open_readers(settings) if readers is None else readers
        self._closing = threading.Event()
        check = partial(require_unchanged, should_stop=self._closing.is_set)
        self._pinned = PinnedSlides(check)
        self.heatmaps = HeatmapTiles(settings.tile_cache_bytes // 2)
        self._slide_pictures = ByteCache(settings.tile_cache_bytes // 2)
        self.results = Lookups[SeenResult](KEPT_S, clock)
        self.slides = Lookups[SeenSlide](KEPT_S, clock)

    def result(self, principal: Principal, result_id: str) -> SeenResult:
        """Raises NotFound, ResultExpired."""
        stored = self._shelf.get(principal.tenant, result_id)
        try:
            return SeenResult(stored, self.heatmaps.view(stored.folder / ZARR))
        except StoreIncomplete:
            self._shelf.get(principal.tenant, result_id)  # it may have been deleted meanwhile
            raise

    def slide(self, principal: Principal, slide_id: str) -> SeenSlide:
        """Raises NotFound, SlideChanged, and what opening the slide raises."""
        stored = self._library.get(principal.tenant, slide_id)
        self._pinned.require(stored)
        size0 = (stored.facts or {}).get("size0")
        if size0 is not None:
            return SeenSlide(stored, Size(*size0))
        with self._readers.borrow(_key(stored), stored.path) as slide:
            return SeenSlide(stored, slide.info.size)

    def cached(self, seen: SeenSlide, what: Address | int) -> bytes | None:
        """A tile, or the thumbnail of so many px, where it was made not long ago."""
        return self._slide_pictures.get((seen.stored.id, seen.stored.sha256, what))

    def slide_tile(self, seen: SeenSlide, address: Address) -> bytes:
        """JPEG, decoded in a reader process of this slide's own. Raises PictureTooLarge."""
        return self._drawn(seen, address, lambda slide: slide_tile(slide, address))

    def thumbnail(self, seen: SeenSlide, longest_px: int) -> bytes:
        """JPEG, as slide_tile()."""
        return self._drawn(seen, longest_px, lambda slide: slide_picture(slide, longest_px))

    def forget_result(self) -> None:
        """One was deleted: all are looked up again."""
        self.results.clear()

    def forget_slide(self, tenant: str, slide_id: str) -> None:
        """It was deleted: the process that has it open ends, when it is done."""
        self.slides.clear()
        self._readers.drop(ReaderKey(tenant, slide_id))

    @property
    def open_readers(self) -> int:
        """Processes that have a slide open."""
        return len(self._readers)

    def close(self) -> None:
        self._closing.set()
        self._readers.close()

    def _drawn(self, seen: SeenSlide, what: Address | int, draw: Callable[[Slide], bytes]) -> bytes:
        made = self.cached(seen, what)
        if made is None:
            with self._readers.borrow(_key(seen.stored), seen.stored.path) as slide:
                made = draw(slide)
            self._slide_pictures.put((seen.stored.id, seen.stored.sha256, what), made)
        return made


def _open_readers(settings: Settings) -> ReaderPool:
    """Confined whatever the settings say of the workers' readers: this process decodes nothing."""
    limits = SandboxLimits(
        memory_bytes=settings.reader_memory_bytes,
        open_timeout_s=settings.reader_timeout_s,
        read_timeout_s=settings.reader_timeout_s,
    )
    return ReaderPool(
        settings.reader_processes,
        open_path=lambda path, mpp: open_in_sandbox(path, mpp, limits=limits, name=NEUTRAL),
    )


def find_tile(pyramid: Pyramid, level: int, column: int, row: int) -> Address:
    """A Deep Zoom tile. Raises NotFound."""
    try:
        return pyramid.tile(level, column, row)
    except InvalidOption as error:
        raise NotFound(str(error)) from error


def find_xyz(pyramid: Pyramid, z: int, x: int, y: int) -> Address:
    """An XYZ tile. Raises NotFound."""
    try:
        return pyramid.xyz(z, x, y)
    except InvalidOption as error:
        raise NotFound(str(error)) from error


def _key(slide: StoredSlide) -> ReaderKey:
    return ReaderKey(slide.tenant, slide.id)


@lru_cache(maxsize=1 << 14)
def _etag(*what: object) -> str:
    digest = hashlib.sha256(repr((__version__, *what)).encode()).hexdigest()
    return f'"{digest[:32]}"'
