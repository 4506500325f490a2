"""The page before the real service: a slide is dropped, scored, and lies under its heatmap."""

import base64
import io
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.service.painted import paint, write_model, write_slide
from tests.service.served import COMMAND, ROOT
from tests.service.viewer.browsing import NO_GPU, REPORT_VIOLATIONS

pytestmark = [pytest.mark.slow, pytest.mark.browser]

DROP = """([name, content]) => {
    const bytes = Uint8Array.from(atob(content), c => c.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name));
    for (const kind of ["dragenter", "dragover", "drop"])
        document.body.dispatchEvent(new DragEvent(kind, {dataTransfer: transfer, bubbles: true}));
}"""


@contextmanager
def real_service(folder: Path) -> Iterator[str]:
    """The address of `wsi serve`, with a model that reads the red of tiles of 64 px."""
    settings = {
        "WSI_DATA": str(folder / "data"),
        "WSI_MODEL": write_model(folder / "model", 64, 0.5),
        "WSI_POLL_S": "0.1",
    }
    server = subprocess.Popen(
        [*COMMAND, "serve", "--port", "0"],
        cwd=ROOT,
        env=os.environ | settings,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    try:
        yield server.stdout.readline().split()[0]
    finally:
        server.terminate()
        assert server.wait(60) == 0
        server.stdout.close()


def see_heatmap(page: Page, slide: Path) -> NDArray[np.int64]:
    """Drops the slide; what is seen of it, (height, width, 3), once its heatmap lies on it, gray
    and opaque."""
    page.evaluate(DROP, [slide.name, base64.b64encode(slide.read_bytes()).decode()])
    expect(page.get_by_text("done", exact=True)).to_be_visible(timeout=120_000)
    page.locator("#stage[aria-busy=false]").wait_for()
    expect(page.get_by_label("Show the heatmap")).to_be_checked()
    with page.expect_request(lambda request: "cmap=gray" in request.url):
        page.get_by_label("Colours", exact=True).select_option("gray")
    page.get_by_label("Opacity", exact=True).fill("100")
    page.locator("#stage[aria-busy=false]").wait_for()
    picture = Image.open(io.BytesIO(page.locator("#slide").screenshot()))
    return np.asarray(picture)[..., :3].astype(int)


def test_a_slide_that_is_dropped_lies_under_its_heatmap(
    bundle: None, browsers: Callable[..., Browser], tmp_path: Path
):
    """Two halves: red 0 on the left, 255 on the right; the probability is the red."""
    rgb = paint(np.array([[0, 255]], np.uint8), 512, 1024, 512)
    slide = write_slide(tmp_path / "two halves.tiff", [rgb, rgb[::2, ::2]], 0.5)
    with real_service(tmp_path) as url:
        tab = browsers(*NO_GPU).new_context(viewport={"width": 1280, "height": 800})
        tab.add_init_script(REPORT_VIOLATIONS)
        page = tab.new_page()
        page.goto(f"{url}/viewer")
        seen = see_heatmap(page, slide)
        assert page.evaluate("window.violations") == []
        tab.close()
    line, middle = seen[seen.shape[0] // 2], seen.shape[1] // 2
    white = (line > 245).all(axis=1)  # gray at probability 1, opaque
    assert white[middle + 8 : middle + 60].all()
    assert not white[middle - 60 : middle - 8].any()
    assert (line[middle + 60] - line[middle - 60] > 80).all()
