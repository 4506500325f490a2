"""The page in a real browser, before an API in memory."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Playwright, expect, sync_playwright

from service.viewer.build import BuildFailed, build_bundle
from tests.service.viewer.browsing import (
    NO_GPU,
    QUIET,
    REPORT_VIOLATIONS,
    Opened,
    OpenViewer,
    make_api,
    serve,
)
from tests.service.viewer.fake_api import FakeApi

PATIENCE_MS = 60_000  # a loaded machine is no failure
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="session")
def bundle() -> None:
    """The page as its sources are now."""
    try:
        build_bundle()
    except BuildFailed as error:
        pytest.skip(f"the page cannot be built: {error}")


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """Not for the session: its event loop runs until it ends, and forbids asyncio.run."""
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="module")
def browsers(playwright: Playwright) -> Iterator[Callable[..., Browser]]:
    """Launches the system's Chromium, once for each set of arguments."""
    names = (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, (shutil.which(name) for name in names if name)), None)
    if path is None:
        pytest.skip("no Chromium; install it (apt-get install chromium) or set CHROMIUM")
    launched: dict[tuple[str, ...], Browser] = {}

    def launch(*args: str) -> Browser:
        if args not in launched:
            chromium = playwright.chromium
            launched[args] = chromium.launch(executable_path=path, args=[*QUIET, *args])
        return launched[args]

    yield launch
    for browser in launched.values():
        browser.close()


@pytest.fixture
def open_viewer(bundle: None, browsers: Callable[..., Browser]) -> Iterator[OpenViewer]:
    """Makes a page with an API of its own; at the end it must not have complained."""
    opened: list[Opened] = []
    with ExitStack() as stack:

        def open_viewer(
            query: str = "",
            api: FakeApi | None = None,
            args: tuple[str, ...] = NO_GPU,
            **context: Any,
        ) -> Opened:
            api = api or make_api()
            address = stack.enter_context(serve(api))
            context = {"viewport": {"width": 1280, "height": 800}} | context
            tab = browsers(*args).new_context(reduced_motion="reduce", **context)
            stack.callback(tab.close)
            tab.add_init_script(REPORT_VIOLATIONS)
            made = Opened(tab.new_page(), api, address)
            made.page.set_default_timeout(PATIENCE_MS)
            made.listen()
            made.goto(query)
            opened.append(made)
            return made

        yield open_viewer
        for made in opened:
            made.check()


@pytest.fixture(scope="session")
def viewer_folder() -> Path:
    return Path(__file__).resolve().parents[3] / "service" / "viewer"
