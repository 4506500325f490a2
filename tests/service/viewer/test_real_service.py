"""The page before the real service: a slide is dropped, scored, and lies under its heatmap."""

import base64
import io
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

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


def test_a_slide_that_is_dropped_lies_under_its_heatmap(
    bundle: None, browsers: Callable[..., Browser], tmp_path: Path
):
    """Two halves: red 0 on the left, 255 on the right; the probability is the red."""
    rgb = paint(np.array([[0, 255]], np.uint8), 512, 1024, 512)
    slide = write_slide(tmp_path / "two halves.tiff", [rgb, rgb[::2, ::2]], 0.5)
    settings = {
        "WSI_DATA": str(tmp_path / "data"),
        "WSI_MODEL": write_model(tmp_path / "model", 64, 0.5),
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
        tab = browsers(*NO_GPU).new_context(viewport={"width": 1280, "height": 800})
        tab.add_init_script(REPORT_VIOLATIONS)
        page = tab.new_page()
        page.goto(f"{server.stdout.readline().split()[0]}/viewer")
        page.evaluate(DROP, [slide.name, base64.b64encode(slide.read_bytes()).decode()])
        expect(page.get_by_text("done", exact=True)).to_be_visible(timeout=120_000)
        page.locator("#stage[aria-busy=false]").wait_for()
        expect(page.get_by_label("Show the heatmap")).to_be_checked()
        page.get_by_label("Colours", exact=True).select_option("gray")
        page.get_by_label("Opacity", exact=True).fill("100")
        page.wait_for_timeout(1500)
        page.locator("#stage[aria-busy=false]").wait_for()
        seen = np.asarray(Image.open(io.BytesIO(page.locator("#slide").screenshot())))
        assert page.evaluate("window.violations") == []
        tab.close()
    finally:
        server.terminate()
        assert server.wait(60) == 0
        server.stdout.close()
    middle = seen[seen.shape[0] // 2, :, :3].astype(int)
    white = (middle > 245).all(axis=1)  # gray at probability 1, opaque
    left, right = middle[seen.shape[1] // 2 - 60], middle[seen.shape[1] // 2 + 60]
    assert white[seen.shape[1] // 2 + 8 : seen.shape[1] // 2 + 60].all()
    assert not white[seen.shape[1] // 2 - 60 : seen.shape[1] // 2 - 8].any()
    assert (right - left > 80).all()
