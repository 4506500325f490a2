"""A page in a real browser, and the API behind it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import uvicorn
from playwright.sync_api import Page

from tests.service.viewer.fake_api import FakeApi
from tests.service.viewer.painting import Painting, paint_squares
from wsi.render import Style

__all__ = [
    "NO_GPU",
    "QUIET",
    "REPORT_VIOLATIONS",
    "SOFTWARE_GPU",
    "SQUARES",
    "OpenViewer",
    "Opened",
    "make_api",
    "serve",
]

QUIET = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
NO_GPU = ("--disable-gpu", "--disable-3d-apis")  # leaves the canvas
SOFTWARE_GPU = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")  # leaves WebGL
SQUARES = [
    (500, 400, 600, 500),
    (2600, 1500, 400, 400),
    (4000, 3000, 400, 300),
    (1500, 2500, 100, 100),
]
REPORT_VIOLATIONS = """
window.violations = [];
document.addEventListener('securitypolicyviolation', event =>
  window.violations.push(`${event.effectiveDirective} ${event.blockedURI} ${event.sourceFile}`));
"""


@lru_cache(maxsize=1)
def squares() -> Painting:
    """Ready to be served: a page's first tiles wait for nothing."""
    painting = paint_squares(SQUARES)
    painting.heatmap_tile(painting.top_level, 0, 0, Style())
    return painting


def make_api(**changes: Any) -> FakeApi:
    return FakeApi(squares(), **changes)


@contextmanager
def serve(api: FakeApi) -> Iterator[str]:
    """The address of an API that runs until the end of the block."""
    config = uvicorn.Config(
        api.app(), port=0, log_level="critical", lifespan="off", timeout_graceful_shutdown=5
    )
    server = uvicorn.Server(config)
    sockets = [config.bind_socket()]
    sockets[0].listen()  # who comes before the thread has begun waits for it
    thread = threading.Thread(target=server.run, args=(sockets,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@dataclass
class Opened:
    """A page, the API behind it and what went wrong in it."""

    page: Page
    api: FakeApi
    address: str
    complaints: list[str] = field(default_factory=list)

    def goto(self, query: str = "") -> None:
        self.page.goto(f"{self.address}/viewer{query}")

    def wait_until_drawn(self) -> None:
        self.page.locator("#stage[aria-busy=false]").wait_for()

    def drop(self, name: str, content: str = "a slide") -> None:
        """Drops a file on the page."""
        transfer = self.page.evaluate_handle(
            """([name, content]) => {
                const transfer = new DataTransfer();
                transfer.items.add(new File([content], name));
                return transfer;
            }""",
            [name, content],
        )
        for event in ("dragenter", "dragover", "drop"):
            self.page.dispatch_event("body", event, {"dataTransfer": transfer})

    def check(self) -> None:
        assert self.page.evaluate("window.violations") == []
        assert self.complaints == []

    def listen(self) -> None:
        """Answers of 4xx are the test's own, and a slow driver is the machine's."""

        def hear(kind: str, text: str) -> None:
            expected = "Failed to load resource" in text or "GL Driver Message" in text
            if kind in ("error", "warning") and not expected:
                self.complaints.append(f"{kind}: {text}")

        def hear_request(url: str) -> None:
            if not url.startswith((self.address, "blob:", "data:")):
                self.complaints.append(f"request elsewhere: {url}")

        self.page.on("console", lambda message: hear(message.type, message.text))
        self.page.on("pageerror", lambda error: hear("error", str(error)))
        self.page.on("request", lambda request: hear_request(request.url))


OpenViewer = Callable[..., Opened]
