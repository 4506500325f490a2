"""examples/07: our heatmap in somebody else's viewer, in a real browser and across sites."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page

from service.client import Client
from tests.service.painted import paint, write_model, write_slide
from tests.service.served import Served
from tests.service.viewer.browsing import NO_GPU
from tests.service.viewer.painting import TILE_PX, Painting

pytestmark = [pytest.mark.slow, pytest.mark.browser]

REPOSITORY = Path(__file__).resolve().parents[3]
FIELD0_PX = 400  # of a tile: 50 px at 4 um/px, on a slide of 0.5 um/px
FIELDS = np.zeros((8, 12), np.uint8)
FIELDS[1:3, 1:4] = FIELDS[5:7, 6:11] = FIELDS[4, 2] = 255

ALL_DRAWN = """async () => {
    const frame = () => new Promise(requestAnimationFrame);
    while (heatmap === null) await frame();
    for (const index of [0, 1])
        await new Promise(done => viewer.world.getItemAt(index).whenFullyLoaded(done));
    viewer.forceRedraw();
    await frame();
    await frame();
}"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Somebody's own site: its address and its folder."""
    folder = tmp_path_factory.mktemp("site")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()
        thread.join()


@dataclass(frozen=True)
class Embedded:
    """A service that lets the site read it, and the query that the site's page is opened with."""

    service: str
    site: str
    query: str


@pytest.fixture(scope="module")
def embedded(
    site: tuple[str, Path], viewer_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Embedded]:
    address, folder = site
    rgb = paint(FIELDS, FIELD0_PX, 12 * FIELD0_PX, 8 * FIELD0_PX)
    furnish(folder, viewer_folder / "node_modules" / "openseadragon" / "build", rgb)
    data = tmp_path_factory.mktemp("service")
    model = write_model(data / "fields", 50, 4.0)
    slide = write_slide(data / "slide.tiff", [rgb], 0.5)
    served = Served(data, MODEL=model, CORS_ORIGINS=address)
    try:
        with Client(served.url) as client:
            result = client.heatmap(slide, mask="none")
            token = client.token(result)
        query = f"slide=my.dzi&service={served.url}&result={result.id}&tk={token}"
        yield Embedded(served.url, address, query)
    finally:
        served.close()


def furnish(folder: Path, openseadragon: Path, rgb: NDArray[np.uint8]) -> None:
    """The example's page, a copy of OpenSeadragon, and the slide as tiles of the site's own."""
    if not openseadragon.is_dir():
        pytest.skip("no OpenSeadragon; `make viewer` installs it")
    shutil.copytree(openseadragon / "openseadragon", folder / "openseadragon")
    shutil.copy(REPOSITORY / "examples" / "07_openseadragon.html", folder)
    painting = Painting(rgb, np.zeros((1, 1), np.float32), 1)
    (folder / "favicon.ico").touch()
    (folder / "my.dzi").write_text(painting.dzi("png"))
    for level in range(painting.top_level + 1):
        height, width = painting.levels[painting.top_level - level].shape[:2]
        tiles = folder / "my_files" / str(level)
        tiles.mkdir(parents=True)
        for column in range(-(-width // TILE_PX)):
            for row in range(-(-height // TILE_PX)):
                tile = painting.slide_tile(level, column, row)
                (tiles / f"{column}_{row}.png").write_bytes(tile)


@pytest.fixture
def page(browsers: Callable[..., Browser]) -> Iterator[Page]:
    tab = browsers(*NO_GPU).new_context(viewport={"width": 1000, "height": 700})
    page = tab.new_page()
    page.set_default_timeout(60_000)
    yield page
    tab.close()


def show(page: Page, opacity: float) -> NDArray[np.int16]:
    """What is seen, (height, width, 3), once all tiles are there."""
    page.locator("input[name=opacity]").fill(str(opacity))
    page.evaluate(ALL_DRAWN)
    picture = Image.open(BytesIO(page.locator("#viewer").screenshot())).convert("RGB")
    return np.asarray(picture).astype(np.int16)


def test_heatmap_lies_on_the_slide_in_a_viewer_of_another_site(
    page: Page, embedded: Embedded
) -> None:
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{embedded.site}/07_openseadragon.html?{embedded.query}")
    bare, covered = show(page, 0), show(page, 1)
    if os.environ.get("WSI_SCREENSHOTS"):
        show(page, 0.6)
        page.screenshot(path=Path(os.environ["WSI_SCREENSHOTS"]) / "embedded.png")
    painted = (bare[..., 0] > 128) & (bare[..., 1] < 128)
    coloured = (np.abs(covered - bare) > 40).any(2)
    assert painted.mean() == pytest.approx(17 / 96, abs=0.01)  # the fields, less a little margin
    edge_px = 2 * np.count_nonzero(painted[:, 1:] != painted[:, :-1])
    assert np.count_nonzero(painted != coloured) < edge_px
    assert complaints == []


def test_quick_changes_of_the_threshold_leave_the_last_one(page: Page, embedded: Embedded) -> None:
    page.goto(f"{embedded.site}/07_openseadragon.html?{embedded.query}")
    show(page, 1)
    for threshold in ("0.7", "0.75", "0.8"):
        page.locator("input[name=threshold]").fill(threshold)

    page.wait_for_function("String(heatmap.source.queryParams).includes('threshold=0.8&')")
    page.evaluate(ALL_DRAWN)
    assert page.evaluate("viewer.world.getItemCount()") == 2


def test_a_site_that_is_not_listed_reads_nothing(embedded: Embedded) -> None:
    path = embedded.query.split("result=")[1].replace("&tk", "/heatmap.dzi?tk")
    url = f"{embedded.service}/v1/results/{path}"
    listed = httpx.get(url, headers={"Origin": embedded.site}, timeout=60)
    foreign = httpx.get(url, headers={"Origin": "http://foreign.test"}, timeout=60)
    assert listed.headers["access-control-allow-origin"] == embedded.site
    assert "access-control-allow-origin" not in foreign.headers
