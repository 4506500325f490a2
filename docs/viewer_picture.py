"""Makes docs/images/viewer.png: the service on a drawn slide, seen in Chromium.

python docs/viewer_picture.py   (chromium on the path; about a minute)
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from service.client import Client
from wsi.phantom import draw_phantom

PICTURE = Path(__file__).parent / "images" / "viewer.png"
QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        slide = Path(folder, "phantom.tiff")
        draw_phantom(slide, size_px=16_000, mpp=0.25, seed=3)
        server = subprocess.Popen(
            [sys.executable, "-c", "from service.cli import main; main()", "serve", "--port", "0"],
            env={**os.environ, "WSI_DATA": f"{folder}/data"},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdout is not None
        try:
            photograph(server.stdout.readline().split()[0], slide)
        finally:
            server.terminate()
            server.wait()


def photograph(url: str, slide: Path) -> None:
    with Client(url) as client:
        result = client.heatmap(slide)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=list(QUIET)
        )
        page = browser.new_page(viewport={"width": 1360, "height": 800}, device_scale_factor=1)
        page.goto(f"{url}/viewer?result={result.id}")
        page.wait_for_load_state("networkidle")
        page.mouse.move(640, 400)
        page.wait_for_timeout(2000)
        page.screenshot(path=PICTURE)
        browser.close()


if __name__ == "__main__":
    main()
