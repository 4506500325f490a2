"""Values to colours to bytes."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from wsi.errors import InvalidOption
from wsi.render import COLORMAPS, FORMATS, Style, blend, colormap, encode, render


def shades(values: list[float], **style: object) -> np.ndarray:
    """RGBA (n, 4) of n values."""
    return render(np.array([values], np.float32), Style(**style))[0]


@pytest.mark.parametrize("name", COLORMAPS)
def test_every_colormap_is_a_table_of_256_colors(name: str) -> None:
    table = colormap(name)
    assert (table.shape, table.dtype) == ((256, 3), np.uint8)
    assert len(np.unique(table, axis=0)) > 200


def test_viridis_begins_and_ends_as_published() -> None:
    assert colormap("viridis")[[0, 255]].tolist() == [[68, 1, 84], [253, 231, 36]]


def test_the_range_is_cut_into_256_equal_steps() -> None:
    rgba = shades([0, 1 / 256 - 1e-6, 1 / 256, 0.5, 1 - 1e-6, 1], colormap="gray")
    assert rgba[:, 0].tolist() == [0, 0, 1, 128, 255, 255]


def test_values_outside_the_range_have_its_end_colors() -> None:
    rgba = shades([-np.inf, 0.2, 0.4, 0.8, np.inf], colormap="gray", vmin=0.4, vmax=0.6)
    assert rgba[:, 0].tolist() == [0, 0, 0, 255, 255]


def test_nan_is_transparent_and_all_else_is_opaque() -> None:
    assert shades([np.nan, 0, 1])[:, 3].tolist() == [0, 255, 255]
    assert shades([np.nan])[0].tolist() == [0, 0, 0, 0]


def test_what_is_below_the_threshold_is_transparent() -> None:
    assert shades([0.29, 0.3, 0.9, np.nan], threshold=0.3)[:, 3].tolist() == [0, 255, 255, 0]


def test_opacity_rises_from_fade_to_alpha() -> None:
    assert shades([0, 1], alpha=0.8, fade=0.25)[:, 3].tolist() == [51, 204]
    assert shades([0, 1], alpha=0.8)[:, 3].tolist() == [204, 204]


def test_blending_mixes_by_opacity() -> None:
    under = np.full((1, 3, 3), 100, np.uint8)
    over = np.array([[[200, 0, 50, 0], [200, 0, 50, 255], [200, 0, 50, 51]]], np.uint8)
    assert blend(under, over)[0].tolist() == [[100, 100, 100], [200, 0, 50], [120, 80, 90]]


def test_a_blend_is_rounded_to_the_nearest_at_every_opacity() -> None:
    shade = np.array([0, 1, 127, 128, 254, 255], np.uint8)
    opacity = np.arange(256, dtype=np.uint8)
    rgb = np.broadcast_to(shade[:, None, None, None], (6, 6, 256, 3)).reshape(36, 256, 3)
    rgba = np.empty((6, 6, 256, 4), np.uint8)
    rgba[..., :3], rgba[..., 3] = shade[None, :, None, None], opacity
    rgba = rgba.reshape(36, 256, 4)
    part = rgba[..., 3:] / 255
    exact = rgba[..., :3] * part + rgb * (1 - part)  # never a half: 255 is odd
    assert np.array_equal(blend(rgb, rgba), np.round(exact))


def test_one_row_of_colors_lies_over_every_row_of_a_picture() -> None:
    rng = np.random.default_rng(2)
    under = rng.integers(0, 256, (5, 7, 3), np.uint8)
    row = rng.integers(0, 256, (1, 7, 4), np.uint8)
    assert np.array_equal(blend(under, row), blend(under, row.repeat(5, 0)))


@pytest.mark.parametrize("format", ["png", "webp"])
def test_transparent_pictures_come_back_as_they_were(format: str) -> None:
    rgba = shades([*np.linspace(0, 1, 300).tolist(), np.nan])[None].repeat(4, 0)
    back = np.asarray(Image.open(io.BytesIO(encode(rgba, format))).convert("RGBA"))
    shown = rgba[..., 3] > 0  # WebP drops the colour of what is not seen
    assert np.array_equal(back[..., 3], rgba[..., 3])
    assert np.array_equal(back[shown], rgba[shown])


@pytest.mark.parametrize("format", FORMATS)
def test_the_bytes_are_of_the_format_that_was_asked_for(format: str) -> None:
    rgb = np.full((8, 12, 3), 90, np.uint8)
    picture = Image.open(io.BytesIO(encode(rgb, format)))
    assert (picture.format, picture.size, picture.mode) == (format.upper(), (12, 8), "RGB")


def test_jpeg_shows_white_where_nothing_is() -> None:
    back = np.asarray(Image.open(io.BytesIO(encode(np.zeros((16, 16, 4), np.uint8), "jpeg"))))
    assert back.min() >= 254


@pytest.mark.parametrize(
    ("style", "message"),
    [
        ({"colormap": "jet"}, "colormap 'jet': use one of viridis"),
        ({"vmin": 1.0, "vmax": 1.0}, "range 1.0 to 1.0"),
        ({"vmax": 1e-300}, "1e-06 apart"),
        ({"vmin": float("nan")}, "range nan to 1.0"),
        ({"vmax": float("inf")}, "range 0.0 to inf"),
        ({"alpha": 1.1}, "alpha 1.1: use 0 to 1"),
        ({"fade": -0.1}, "fade -0.1: use 0 to 1"),
    ],
)
def test_a_style_outside_its_range_is_refused(style: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        Style(**style)


def test_unknown_picture_formats_and_qualities_are_refused() -> None:
    rgb = np.zeros((1, 1, 3), np.uint8)
    with pytest.raises(InvalidOption, match="picture format 'bmp': use one of png, jpeg, webp"):
        encode(rgb, "bmp")
    with pytest.raises(InvalidOption, match="quality 0"):
        encode(rgb, "jpeg", quality=0)


def test_rendering_needs_neither_pyplot_nor_a_slide_reader() -> None:
    code = (
        "import sys, numpy as np; from wsi.render import encode, render;"
        "encode(render(np.zeros((2, 2), np.float32)));"
        "print([m for m in ('torch', 'openslide', 'matplotlib.pyplot', 'scipy', 'zarr')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
