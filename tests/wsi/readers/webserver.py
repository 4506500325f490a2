"""A web server for tests: serves parts of files, counts what it sends, and can be made to fail."""

import base64
import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class WebServer:
    """What a test sees of the server, and turns."""

    folder: Path
    url: str = ""
    sent_bytes: int = 0  # of bodies, those begun counted whole
    hung_up: threading.Event = field(default_factory=threading.Event)  # a client, in a body
    paths: list[str] = field(default_factory=list)  # of the requests, in their order
    headers: list[dict[str, str]] = field(default_factory=list)
    etag: str | None = '"v1"'
    modified: str | None = None
    has_ranges: bool = True
    failing: list[Any] = field(default_factory=list)  # of the next answers: a status, or "cut"
    redirects: dict[str, str] = field(default_factory=dict)  # path to where it is
    password: str | None = None  # as user:word
    meeting: threading.Barrier | None = None  # before a missing file is said to be missing

    @property
    def requests(self) -> int:
        return len(self.paths)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections stay open, as a real server's do
    disable_nagle_algorithm = True  # head and body are sent apart: each would cost 40 ms
    state: WebServer

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        state, path = self.state, urlsplit(self.path).path
        state.paths.append(self.path)
        state.headers.append(dict(self.headers))
        failing = state.failing.pop(0) if state.failing else None
        file = state.folder / unquote(path).lstrip("/")
        wanted = state.password and f"Basic {base64.b64encode(state.password.encode()).decode()}"
        if path in state.redirects:
            self._send(302, {"Location": state.redirects[path]}, b"")
        elif isinstance(failing, int):
            self._send(failing, {}, b"")
        elif wanted and self.headers.get("Authorization") != wanted:
            self._send(401, {}, b"")
        elif not file.is_file():
            if state.meeting:
                state.meeting.wait()
            self._send(404, {}, b"")
        elif self.headers.get("If-Match", state.etag) != state.etag:
            self._send(412, {}, b"")
        else:
            self._send_file(file, with_body=with_body, is_cut=failing == "cut")

    def _send_file(self, file: Path, *, with_body: bool, is_cut: bool) -> None:
        size, headers, status = file.stat().st_size, {}, 200
        start, stop = 0, size
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if self.state.has_ranges:
            headers["Accept-Ranges"] = "bytes"
            if asked:
                status, start = 206, int(asked[1])
                stop = min(size, int(asked[2]) + 1 if asked[2] else size)
                if start >= size:
                    self._send(416, {"Content-Range": f"bytes */{size}"}, b"")
                    return
                headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        if self.state.etag:
            headers["ETag"] = self.state.etag
        if self.state.modified:
            headers["Last-Modified"] = self.state.modified
        with file.open("rb") as stream:
            stream.seek(start)
            data = stream.read(stop - start) if with_body else b""
        self._send(status, headers, data, length=stop - start, is_cut=is_cut)

    def _send(
        self,
        status: int,
        headers: dict[str, str],
        data: bytes,
        *,
        length: int | None = None,
        is_cut: bool = False,
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        if is_cut:
            data = data[: len(data) // 2]
            self.close_connection = True
        self.state.sent_bytes += len(data)  # first: a client that has all of it may look at once
        try:
            self.wfile.write(data)
        except ConnectionError:
            self.state.hung_up.set()
            raise

    def log_message(self, *_: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True  # those of connections that stay open

    def handle_error(self, *_: object) -> None:
        """A client may hang up."""


@contextmanager
def serving(folder: Path) -> Iterator[WebServer]:
    state = WebServer(folder)
    handler = type("Bound", (Handler,), {"state": state})
    with Server(("127.0.0.1", 0), handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
