"""The application: `create_app(settings)`."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from importlib import import_module

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from service.deps import Authenticate, Service, opened_service
from service.operations.metrics import Metered, Metrics
from service.operations.tracing import Traced, Tracing
from service.pictures.viewing import Viewing
from service.pictures.warm_tiles import WarmTiles
from service.settings import Settings
from service.web.crowd import MOST, Crowd
from service.web.middleware import STALL_S, Edge
from service.web.neighbours import Neighbours
from service.web.openapi import describe
from service.web.refusals import add_handlers
from wsi import __version__

__all__ = ["ROUTERS", "App", "create_app", "running"]

ROUTERS = (
    "service.routes.heatmaps:router",
    "service.routes.slides:router",
    "service.routes.jobs:router",
    "service.routes.batches:router",
    "service.routes.results:router",
    "service.routes.result_tiles:router",
    "service.routes.slide_tiles:router",
    "service.routes.tokens:router",
    "service.routes.models:router",
    "service.routes.health:router",
    "service.routes.metrics:router",
    "service.routes.viewer:router",
)
"""Where the routes are, one line a file; the first that fits an address answers it."""

EXPOSED = (
    "Accept-Ranges", "Content-Location", "Content-Range", "ETag", "Location",
    "Preference-Applied", "Retry-After", "X-Request-Id",
)  # fmt: skip
"""Fields that a page on another site may read."""

NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "auto_configure": False,
}
"""FastAPI's own: its spans and logs would hold queries with tokens, and messages of errors, and the
environment alone can turn it on. See service.operations.tracing."""

log = logging.getLogger(__name__)


class App(FastAPI):
    """With our edge around everything, so that an answer to a crash has its headers too."""

    cors_origins: tuple[str, ...] = ()
    stall_s = STALL_S
    most_requests = MOST
    trusting: Settings | None = None  # of a service that asks nobody for a key
    tracing: Tracing | None = None

    def build_middleware_stack(self) -> ASGIApp:
        warm = WarmTiles(super().build_middleware_stack(), self._viewing)
        inner: ASGIApp = Metered(Crowd(warm, self.most_requests), self.state.metrics)
        if self.tracing is not None:
            inner = Traced(inner, self.tracing)
        if self.trusting is not None:
            inner = Neighbours.from_settings(inner, self.trusting)
        if not self.cors_origins:
            return Edge(inner, self.stall_s)
        return CORSMiddleware(
            Edge(inner, self.stall_s),
            allow_origins=self.cors_origins,
            allow_methods=["GET", "HEAD", "POST", "DELETE", "PATCH"],
            allow_headers=["*"],
            expose_headers=EXPOSED,
        )

    def _viewing(self) -> Viewing | None:
        service: Service | None = getattr(self.state, "service", None)
        return None if service is None else service.viewing


def create_app(
    settings: Settings | None = None, *, authenticate: Authenticate | None = None
) -> FastAPI:
    """Opens nothing yet: the database and the folders open when the server starts it.

    Raises InvalidRequest where traces are wanted and cannot be made.
    """
    settings = settings or Settings()
    app = App(
        title="WSI heatmaps",
        summary="A slide goes in, a heatmap comes out. Research use, not a medical device.",
        version=__version__,
        lifespan=_lifespan(settings, authenticate),
        docs_url=None,  # their scripts come from another site
        redoc_url=None,
        openapi_url="/openapi.json",
        telemetry=NO_TELEMETRY,
        redirect_slashes=False,  # to whatever host the client names
        max_body_size=settings.max_json_bytes,
        form_limits={"max_files": 0, "max_fields": 0},  # our own parser reads the one form
        generate_unique_id_function=lambda route: route.name,
    )
    app.cors_origins = settings.cors_origins
    if settings.otlp_endpoint is not None:
        app.tracing = Tracing.to_collector(settings.otlp_endpoint)
    app.stall_s = 2 * settings.upload_stall_s
    app.trusting = None if settings.auth or authenticate else settings
    app.state.metrics = Metrics()
    add_handlers(app)
    for address in ROUTERS:
        module, _, name = address.partition(":")
        app.include_router(getattr(import_module(module), name))
    describe(app)
    return app


def _lifespan(
    settings: Settings, authenticate: Authenticate | None
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with opened_service(settings, authenticate=authenticate) as service:
            async with running(app, service):
                yield
        tracing: Tracing | None = getattr(app, "tracing", None)
        if tracing is not None:
            await asyncio.to_thread(tracing.close)

    return lifespan


@asynccontextmanager
async def running(app: FastAPI, service: Service) -> AsyncIterator[None]:
    """What an application needs while it answers: its parts, and the watcher's task."""
    app.state.service = service
    watching = asyncio.create_task(service.watcher.run(), name="watcher")
    try:
        yield
    finally:
        service.watcher.close()
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
