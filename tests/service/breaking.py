"""Connections that break where a test wants it, and a service that moves."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

__all__ = ["Cuts", "Moving"]


@dataclass
class Cuts(httpx.BaseTransport):
    """A real connection that breaks: `plan` holds, for each request in turn, where.

    None: nowhere. "before": nothing is sent. ("body", n): after n bytes of the request's body.
    "answer": the server did it, and its answer is lost. ("answer", n): after n bytes of it.
    "event": after the first event of it.
    A function: is called, and the connection fails.
    """

    plan: list[Any] = field(default_factory=list)
    asked: list[httpx.Request] = field(default_factory=list)
    real: httpx.HTTPTransport = field(default_factory=httpx.HTTPTransport)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        cut = self.plan.pop(0) if self.plan else None
        if callable(cut):
            cut()
        if cut == "before" or callable(cut):
            raise httpx.ConnectError("no route")
        if cut and cut[0] == "body":
            assert isinstance(request.stream, httpx.SyncByteStream)
            broken = httpx.WriteError("broken pipe")
            request.stream = Broken(request.stream, after(cut[1]), broken)
        answer = self.real.handle_request(request)
        if cut == "answer":
            answer.read()
            raise httpx.ReadError("reset")
        if cut == "event" or (cut and cut[0] == "answer"):
            assert isinstance(answer.stream, httpx.SyncByteStream)
            end = after_an_event if cut == "event" else after(cut[1])
            answer.stream = Broken(answer.stream, end, httpx.ReadError("reset"))
        return answer

    def close(self) -> None:
        self.real.close()


@dataclass
class Broken(httpx.SyncByteStream):
    """`end` is told all that came, and says how many bytes of it get through; -1: all, so far."""

    stream: httpx.SyncByteStream
    end: Callable[[bytes], int]
    error: httpx.TransportError

    def __iter__(self) -> Iterator[bytes]:
        came = b""
        for block in self.stream:
            begun, came = len(came), came + block
            end = self.end(came)
            yield block if end < 0 else block[: end - begun]
            if end >= 0:
                raise self.error

    def close(self) -> None:
        self.stream.close()


def after(count: int) -> Callable[[bytes], int]:
    return lambda came: count if len(came) >= count else -1


def after_an_event(came: bytes) -> int:
    return came.find(b"\n\n") + 2 if b"\n\n" in came else -1


@dataclass
class Moving(httpx.BaseTransport):
    """To a service whose port changes with each start, as one behind a proxy may."""

    url: str
    real: httpx.HTTPTransport = field(default_factory=httpx.HTTPTransport)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.url = httpx.URL(self.url).join(request.url.raw_path.decode())
        return self.real.handle_request(request)

    def close(self) -> None:
        self.real.close()
