"""Slide and heatmap, on the screen, pixel by pixel."""

import io
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import expect

from tests.service.viewer.browsing import NO_GPU, SOFTWARE_GPU, SQUARES, Opened, OpenViewer
from tests.service.viewer.fake_api import FakeApi
from tests.service.viewer.painting import paint_squares
from wsi.render import colormap

pytestmark = [pytest.mark.slow, pytest.mark.browser]

View = tuple[int, int, float]
NEAR_PX = 5

# The middle of the view and its zoom. In a window of this size the edges of painted squares are
# in sight at each, and nothing lies over them.
VIEWS: list[View] = [(2500, 1850, 0.11), (2700, 1700, 0.5), (1550, 2550, 2.0)]
WINDOW = {"width": 700, "height": 560}


@pytest.mark.parametrize("device_pixels", [1, 2])
@pytest.mark.parametrize("args", [NO_GPU, SOFTWARE_GPU], ids=["no gpu", "gpu"])
def test_painted_squares_and_their_heatmap_coincide(
    open_viewer: OpenViewer, device_pixels: int, args: tuple[str, ...]
):
    viewer = open_viewer(args=args, device_scale_factor=device_pixels, viewport=WINDOW)
    for x0, y0, zoom in VIEWS:
        look = "opacity=1&cmap=coolwarm&heatmap=off"
        viewer.goto(f"?result=res_000001&x={x0}&y={y0}&zoom={zoom}&{look}")
        viewer.wait_until_drawn()
        frame = Frame.of(viewer, (x0, y0, zoom), device_pixels)
        slide = frame.edges(viewer)
        viewer.page.keyboard.press("h")
        expect(viewer.page.get_by_label("Show the heatmap")).to_be_checked()
        viewer.wait_until_drawn()
        overlay = frame.edges(viewer)
        assert len(slide) >= 4
        assert slide.keys() == overlay.keys()
        for name, edge in slide.items():
            assert abs(edge - overlay[name]) <= 1, (zoom, name)
            assert abs(edge - frame.position(*name)) <= device_pixels, (zoom, name)


@pytest.mark.parametrize("args", [NO_GPU, SOFTWARE_GPU], ids=["no gpu", "gpu"])
def test_low_probabilities_are_thin_and_of_their_colour(
    open_viewer: OpenViewer, args: tuple[str, ...]
):
    """White with a probability of 0: the first colour of the map at an opacity of 0.15."""
    blank = paint_squares([])
    blank.probability[:] = 0
    viewer = open_viewer(args=args, api=FakeApi(blank), device_scale_factor=1, viewport=WINDOW)
    x0, y0, zoom = VIEWS[1]
    viewer.goto(f"?result=res_000001&x={x0}&y={y0}&zoom={zoom}&opacity=1&cmap=coolwarm")
    viewer.wait_until_drawn()
    pixels = np.asarray(Image.open(io.BytesIO(viewer.page.locator("#slide").screenshot())))
    expected = 255 + 0.15 * (np.array(colormap("coolwarm")[0], float) - 255)
    assert np.abs(np.median(pixels[..., :3], axis=(0, 1)) - expected).max() <= 2


@dataclass(frozen=True)
class Frame:
    """Where level-0 positions belong on the screen, in device pixels of the stage."""

    middle0: tuple[int, int]  # level-0 px
    device_per_px0: float
    width: float
    height: float

    @classmethod
    def of(cls, viewer: Opened, view: View, device_pixels: int) -> "Frame":
        x0, y0, zoom = view
        box = viewer.page.locator("#slide").bounding_box()
        assert box is not None
        width, height = box["width"] * device_pixels, box["height"] * device_pixels
        return cls((x0, y0), zoom * device_pixels, width, height)

    def position(self, axis: str, position0: float) -> float:
        middle0, length = (
            (self.middle0[0], self.width) if axis == "x" else (self.middle0[1], self.height)
        )
        return (position0 - middle0) * self.device_per_px0 + length / 2

    def edges(self, viewer: Opened) -> dict[tuple[str, int], int]:
        """(axis, level-0 position) of the painted edges in sight, and where they are seen."""
        pixels = np.asarray(Image.open(io.BytesIO(viewer.page.locator("#slide").screenshot())))
        painted = pixels[..., 1] < 128  # black, or the red of the colour map
        found = {}
        for left, top, width, height in SQUARES:
            row = self.position("y", top + height / 2)
            column = self.position("x", left + width / 2)
            if 0 <= row < len(painted):
                found |= self.changes(painted[int(row)], "x", (left, left + width))
            if 0 <= column < painted.shape[1]:
                found |= self.changes(painted[:, int(column)], "y", (top, top + height))
        return found

    def changes(
        self, line: NDArray[np.bool_], axis: str, edges0: tuple[int, int]
    ) -> dict[tuple[str, int], int]:
        """Where the line changes within NEAR_PX of each edge, which it does once."""
        found = {}
        for edge0 in edges0:
            start = int(self.position(axis, edge0)) - NEAR_PX
            if not 0 <= start < len(line) - 2 * NEAR_PX:
                continue
            (changes,) = np.nonzero(np.diff(line[start : start + 2 * NEAR_PX]))
            assert len(changes) == 1, (axis, edge0, changes)
            found[axis, edge0] = start + int(changes[0]) + 1
        return found
