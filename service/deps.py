"""What routes are given: the parts of the service, and who asks."""

import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import anyio
from fastapi import Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute
from sqlalchemy import Engine

from service.access.auth import Principal
from service.access.authentication import Authenticator, open_tokens
from service.access.tokens import Tokens
from service.batches import Batches
from service.catalogue import Catalogue
from service.database import open_database, upgrade
from service.errors import NotAllowed
from service.jobs import Queue
from service.jobs.sql import SqlQueue
from service.pictures.viewing import Viewing
from service.settings import Settings
from service.storage.library import Library
from service.storage.shelf import Shelf
from service.watcher import Watcher
from service.web.resources import Resources

__all__ = [
    "SHARED_FILES",
    "AskedFirst",
    "Authenticate",
    "Cursor",
    "Limit",
    "Parts",
    "Reader",
    "Service",
    "Writer",
    "allowed",
    "opened_service",
]

SHARED_FILES = anyio.CapacityLimiter(2)
"""Requests that read whole slides of shared folders at once: other requests need the threads."""

Authenticate = Callable[[Request], Principal]
"""Called in a thread, before a body is read. Raises NotAuthenticated, TooManyRequests …"""


@dataclass
class Service:
    """What one process of the API holds. Everything but the watcher may be used in any thread."""

    settings: Settings
    engine: Engine
    queue: Queue
    library: Library
    shelf: Shelf
    batches: Batches
    catalogue: Catalogue
    resources: Resources
    watcher: Watcher
    viewing: Viewing
    tokens: Tokens
    clock: Callable[[], float]
    authenticate: Authenticate


@contextmanager
def opened_service(
    settings: Settings,
    *,
    clock: Callable[[], float] = time.time,
    authenticate: Authenticate | None = None,
) -> Iterator[Service]:
    """Makes the data folder and the tables where they are missing. authenticate: by default as the
    settings want it.

    Raises what a wrong setting deserves, before anything listens.
    """
    catalogue = Catalogue.from_settings(settings)
    settings.data.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        engine = open_database(settings.database)
        stack.callback(engine.dispose)
        upgrade(engine)
        queue = open_queue(settings, engine, clock)
        library = stack.enter_context(closing(Library(settings.data, engine, settings, clock)))
        shelf = Shelf(settings.data, engine, settings, clock)
        tokens = open_tokens(settings, clock)
        yield Service(
            settings=settings,
            engine=engine,
            queue=queue,
            library=library,
            shelf=shelf,
            batches=Batches(engine, clock),
            catalogue=catalogue,
            resources=Resources(catalogue, (settings.public_url or "").rstrip("/"), clock),
            watcher=Watcher(queue),
            viewing=stack.enter_context(closing(Viewing(settings, library, shelf))),
            tokens=tokens,
            clock=clock,
            authenticate=authenticate or Authenticator(settings, engine, tokens, clock),
        )


def open_queue(settings: Settings, engine: Engine, clock: Callable[[], float]) -> Queue:
    return SqlQueue(
        engine,
        lease_s=settings.lease_s,
        max_queued=settings.max_queued,
        max_queued_per_tenant=settings.max_queued_per_tenant,
        clock=clock,
    )


async def parts_of(request: Request) -> Service:
    return service_of(request)


def service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Parts = Annotated[Service, Depends(parts_of)]


async def asker(request: Request, service: Parts) -> Principal:
    """Whoever asks; in a thread, because keys are looked up."""
    known: Principal | None = getattr(request.state, "principal", None)
    if known is not None:
        return known
    return await run_in_threadpool(service.authenticate, request)


class AskedFirst(APIRoute):
    """Of routes with a JSON body, which FastAPI would read before it asks who sends it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def ask_first(request: Request) -> Response:
            service = service_of(request)
            request.state.principal = await run_in_threadpool(service.authenticate, request)
            return await handle(request)

        return ask_first


Asker = Annotated[Principal, Depends(asker)]


def allowed(principal: Principal, scope: Literal["read", "write"]) -> Principal:
    """Raises NotAllowed. A token of an identity provider may have neither scope."""
    if scope not in principal.scopes:
        raise NotAllowed(f"this key or token may not {scope}; use one with the scope {scope}")
    return principal


async def reader(principal: Asker) -> Principal:
    return allowed(principal, "read")


async def writer(principal: Asker) -> Principal:
    return allowed(principal, "write")


Reader = Annotated[Principal, Depends(reader)]
Writer = Annotated[Principal, Depends(writer)]

Limit = Annotated[int, Query(ge=1, le=200, description="Items of a page")]
Cursor = Annotated[
    str | None,
    Query(max_length=40, pattern=r"^[\x21-\x7e]*$", description="`next_cursor` of the last page"),
]
