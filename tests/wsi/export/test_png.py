"""Pictures that lie on the slide to the pixel, and whose writing stays clear of everything."""

import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import wsi.export.strips
from tests.wsi.export.sources import SIZE0, make_source
from wsi.errors import InvalidOption
from wsi.export import ExportSource
from wsi.export.legend import Legend, frame_picture, length_label, round_length_um
from wsi.export.panel import OUTLINE, Panel, draw_panel, plan_panel
from wsi.export.png import draw_overlay, save_png, write_heatmap, write_overlay
from wsi.export.strips import write_png
from wsi.geometry import Box, Mpp, Scale, Size
from wsi.heatmap import Heatmap
from wsi.overview import Overview, read_overview
from wsi.readers.array import ArraySlide
from wsi.render import Style, colormap

FLAT = Style("viridis")  # opaque: a pixel is its cell's colour


def make_overview(size0: Size, mpp: Mpp, um: float, rgb: tuple[int, int, int]) -> Overview:
    """All of one colour."""
    px0 = Scale(um / mpp.x, um / mpp.y)
    shape = -(-size0.height // px0.y), -(-size0.width // px0.x)
    return Overview(np.full((int(shape[0]), int(shape[1]), 3), rgb, np.uint8), um, px0)


def make_pictured(size0: Size = SIZE0, **options: Any) -> ExportSource:
    mpp = options.pop("mpp", Mpp(0.25, 0.25))
    overview = make_overview(size0, mpp, options.pop("um", 4.0), (230, 200, 220))
    return make_source(size0=size0, mpp=mpp, overview=overview, **options)


def read_png(path: Path) -> tuple[NDArray[np.uint8], dict[str, str]]:
    """Pixels and text chunks."""
    with Image.open(path) as picture:
        return np.asarray(picture), dict(picture.text)


def values_at_centers(heatmap: Heatmap, panel: Panel) -> NDArray[np.float32]:
    """Pixel by pixel in level-0 px, as the frames are defined."""
    out = np.empty((panel.size.height, panel.size.width), np.float32)
    for y in range(panel.size.height):
        for x in range(panel.size.width):
            column = int((x + 0.5) * panel.px0.x // heatmap.cell0.x)
            row = int((y + 0.5) * panel.px0.y // heatmap.cell0.y)
            out[y, x] = heatmap.positive[row, column]
    return out


@pytest.mark.parametrize(
    ("mpp", "bounds", "um"),
    [
        (Mpp(0.25, 0.25), None, 4.0),
        (Mpp(0.25, 0.25), Box(301, 203, 2222, 1777), 3.7),
        (Mpp(0.97, 1.31), Box(11, 7, 1900, 1700), 8.0),
        (Mpp(0.5, 0.5), None, 16.0),
    ],
)
def test_a_pixel_has_the_color_of_the_cell_that_its_center_lies_in(
    mpp: Mpp, bounds: Box | None, um: float
) -> None:
    source = make_pictured(Size(2600, 2400), mpp=mpp, bounds=bounds, um=um)
    panel = plan_panel(source.heatmap, um, Size(150, 150))
    picture = draw_panel(source.heatmap, source.overview, panel, FLAT)
    values = values_at_centers(source.heatmap, panel)
    steps = np.minimum(np.nan_to_num(values) * 256, 255).astype(int)
    expected = np.where(np.isnan(values)[..., None], (230, 200, 220), colormap("viridis")[steps])
    assert np.array_equal(picture, expected)
    assert max(panel.size) <= 150


@pytest.mark.parametrize("bounds", [None, Box(640, 320, 2000, 1900)], ids=["whole", "bounds"])
@pytest.mark.parametrize("mpp", [Mpp(0.25, 0.25), Mpp(0.97, 0.97), Mpp(0.3, 0.4)])
def test_the_heatmap_covers_what_is_painted_on_the_slide(bounds: Box | None, mpp: Mpp) -> None:
    size0 = Size(3000, 2400)
    empty = make_source(size0=size0, mpp=mpp, bounds=bounds, tile_mpp=3.0, indices=[])
    row, column = (n // 2 for n in empty.grid.shape)
    box = empty.grid.box0(row, column)
    pixels = np.full((size0.height, size0.width, 3), 250, np.uint8)
    pixels[box.y : box.bottom, box.x : box.right] = (200, 0, 0)
    overview = read_overview(ArraySlide([pixels], mpp, bounds=bounds), 4.0)
    source = make_source(
        size0=size0, mpp=mpp, bounds=bounds, tile_mpp=3.0,
        indices=[(row, column)], prob=[[0.0, 1.0]], overview=overview,
    )  # fmt: skip
    panel = plan_panel(source.heatmap, overview.mpp, Size(400, 400))
    slide = draw_panel(empty.heatmap, overview, panel, FLAT)
    with_heatmap = draw_panel(source.heatmap, overview, panel, FLAT)
    painted = slide[..., 1] < 125
    shown = (with_heatmap == colormap("viridis")[255]).all(-1)
    assert painted.sum() > 100
    for axis in (0, 1):
        for a, b in zip(extent(painted, axis), extent(shown, axis), strict=True):
            assert abs(a - b) <= 1  # both are rounded to a whole pixel


def extent(inside: NDArray[np.bool_], axis: int) -> tuple[int, int]:
    at = np.flatnonzero(inside.any(axis))
    return int(at[0]), int(at[-1])


def test_cells_smaller_than_a_pixel_are_averaged_not_skipped() -> None:
    cells = [(r, c) for r in range(8) for c in range(1024)]
    prob = np.random.default_rng(0).random(len(cells))
    source = make_pictured(
        Size(1024 * 64, 8 * 64), tile_px=16, tile_mpp=1.0, um=16.0,
        indices=cells, prob=np.stack([1 - prob, prob], 1),
    )  # fmt: skip
    panel = plan_panel(source.heatmap, 16.0, Size(256, 256))  # a pixel is four by four cells
    assert panel.size == Size(256, 2)
    picture = draw_panel(source.heatmap, source.overview, panel, Style("gray"))
    means = prob.reshape(2, 4, 256, 4).mean((1, 3))
    assert np.abs(picture[..., 0] / 256 - means).max() < 1 / 128


def test_low_probabilities_leave_the_tissue_in_sight() -> None:
    source = make_pictured(indices=[(0, 0), (0, 1)], prob=[[1, 0], [0, 1]])
    panel = plan_panel(source.heatmap, 4.0, Size(200, 200))
    style = Style(alpha=0.75, fade=0.1)
    picture = draw_panel(source.heatmap, source.overview, panel, style).astype(int)
    low, high = picture[10, 10], picture[10, 75]
    assert np.abs(low - (230, 200, 220)).max() <= 20
    assert np.abs(high - colormap("viridis")[255]).max() <= 55


def test_the_outline_runs_inside_the_cells_above_the_threshold() -> None:
    source = make_pictured(indices=[(1, 1), (1, 2)], prob=[[0.1, 0.9], [0.9, 0.1]])
    panel = plan_panel(source.heatmap, 4.0, Size(200, 150))  # 50 px a cell
    picture = draw_panel(source.heatmap, source.overview, panel, FLAT, outline_px=2)
    dark = (picture == OUTLINE).all(-1)
    expected = np.zeros((150, 200), bool)
    expected[50:100, 50:100] = True
    expected[52:98, 52:98] = False
    assert np.array_equal(dark, expected)


@pytest.mark.parametrize(
    "size0",
    [Size(50, 50), Size(32_000, 3200), Size(3200, 32_000), Size(60_000, 70_000)],
    ids=["tiny", "wide", "tall", "large"],
)
def test_the_overlay_is_whole_and_not_too_large(size0: Size, tmp_path: Path) -> None:
    source = make_pictured(size0, um=max(4.0, max(size0) / 8000))
    rgb, _ = read_png(write_overlay(source, tmp_path / "overlay.png"))
    assert max(rgb.shape) <= 2400
    assert min(rgb.shape[:2]) >= 300
    margins = np.concatenate([rgb[:4].ravel(), rgb[-4:].ravel(), rgb[:, :4].ravel()])
    assert margins.min() == 255  # nothing is cut off at the edges
    assert rgb[:, -4:].min() == 255


@pytest.mark.parametrize("name", ["x" * 200, "日本\n語 🙂\u202e.svs", "", "a b" * 90 + ".ndpi"])
def test_any_name_fits_above_the_picture(name: str) -> None:
    picture = np.full((500, 700, 3), 77, np.uint8)
    legend = Legend(name, name, f"probability of {name}", Style(), 1.0, 4.0)
    framed = frame_picture(picture, legend)
    assert (framed[:, -4:] == 255).all()
    inside = (framed == 77).all(-1)
    assert inside.sum() >= 500 * 700
    top, left = np.argwhere(inside)[0]
    assert inside[top : top + 500, left : left + 700].all()


@pytest.mark.parametrize(
    ("longest_um", "length_um", "label"),
    [(2499, 2000, "2 mm"), (999, 500, "500 µm"), (1000, 1000, "1 mm"), (0.3, 0.2, "200 nm"),
     (7.1, 5, "5 µm"), (20_000, 20_000, "20 mm")],
)  # fmt: skip
def test_scale_bars_have_round_lengths(longest_um: float, length_um: float, label: str) -> None:
    assert round_length_um(longest_um) == pytest.approx(length_um)
    assert length_label(round_length_um(longest_um)) == label


def test_the_scale_bar_is_as_long_as_it_says() -> None:
    legend = Legend("a", "b", "c", Style(), 0.5, mpp=4.0)
    framed = frame_picture(np.full((500, 1000, 3), 128, np.uint8), legend)
    below = framed[framed.shape[0] - 100 :, : framed.shape[1] // 3]
    dark = (below < 60).all(-1)
    longest = max(row.sum() for row in dark)
    assert longest == 250  # 1 mm: the largest round length in a quarter of 1000 px


def test_an_overlay_without_an_overview_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match=r"slide one\.svs: an overlay needs the slide's overv"):
        write_overlay(make_source(), tmp_path / "overlay.png")
    assert list(tmp_path.iterdir()) == []


def test_the_bare_heatmap_is_its_cells_enlarged(tmp_path: Path) -> None:
    source = make_source(bounds=Box(100, 200, 3000, 2100))
    rgba, text = read_png(write_heatmap(source, tmp_path / "heatmap.png"))
    assert rgba.shape == (3 * 32, 4 * 32, 4)
    assert (rgba[:32, :32, 3] == 0).all()  # the first tile is not scored
    assert (rgba[32:64, 96:] == [*colormap("viridis")[7 * 16], 255]).all()  # 7 / 16
    assert text["origin0"] == "100 200"
    assert text["px0"] == "25 25"


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (1, 9, 3), (40, 3, 4), (300, 200, 3)])
def test_pillow_reads_the_pixels_that_were_saved(shape: tuple[int, ...], tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    with Image.open(save_png(pixels, tmp_path / "a.png")) as image:
        image.verify()  # the checksums
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(np.asarray(image), pixels)


def test_text_chunks_hold_any_script_and_the_file_is_sound(tmp_path: Path) -> None:
    source = replace(make_pictured(), model="модель 乳腺")
    path = write_overlay(source, tmp_path / "overlay.png")
    with Image.open(path) as picture:
        picture.verify()  # the checksum of every chunk
    _, text = read_png(path)
    assert text == {"model": "модель 乳腺", "slide_id": source.slide_id}


def test_a_map_of_more_cells_than_a_picture_has_pixels_is_halved(tmp_path: Path) -> None:
    size0 = Size(2500 * 16, 16)
    cells = [(0, c) for c in range(2500)]
    prob = [[1 - v, v] for v in np.tile([0.25, 0.75], 1250)]
    source = make_source(size0=size0, tile_px=16, tile_mpp=0.25, indices=cells, prob=prob)
    rgba, text = read_png(write_heatmap(source, tmp_path / "heatmap.png"))
    assert rgba.shape == (1, 1250, 4)
    assert text["px0"] == "32 32"
    assert (rgba[..., :3] == colormap("viridis")[128]).all()


def test_a_slide_without_tissue_has_an_empty_heatmap_and_says_so(tmp_path: Path) -> None:
    source = make_pictured(indices=[])
    bare, _ = read_png(write_heatmap(source, tmp_path / "heatmap.png"))
    assert not bare[..., 3].any()
    empty, _ = read_png(write_overlay(source, tmp_path / "empty.png"))
    scored, _ = read_png(write_overlay(make_pictured(), tmp_path / "scored.png"))
    assert (empty[:70] != scored[:70]).any()  # the second line above the picture


def test_marks_are_numbered_where_they_lie() -> None:
    source = make_pictured(indices=[])
    plain = draw_overlay(source, Style())
    marked = draw_overlay(source, Style(), marks0=[(1600, 600)])
    rows, columns = np.nonzero((plain != marked).any(-1))
    panel = (plain == (230, 200, 220)).all(-1)
    top, left = np.argwhere(panel)[0]
    bottom, right = np.argwhere(panel)[-1] + 1
    assert (columns.min() + columns.max()) / 2 == pytest.approx((left + right) / 2, abs=1.5)
    assert (rows.min() + rows.max()) / 2 == pytest.approx(top + (bottom - top) / 4, abs=1.5)


def make_textured(px: int) -> ExportSource:
    """Every tile scored at random, over noise of `px` a side at 8 um/px: 25 px a tile."""
    overview = Overview(
        np.random.default_rng(0).integers(0, 256, (px, px, 3), dtype=np.uint8), 8.0, Scale(32, 32)
    )
    cells = [(row, column) for row in range(px // 25) for column in range(px // 25)]
    prob = np.random.default_rng(1).random(len(cells))
    return make_source(
        size0=Size(32 * px, 32 * px), overview=overview,
        indices=cells, prob=np.stack([1 - prob, prob], 1),
    )  # fmt: skip


def test_an_overlay_drawn_in_strips_is_the_one_drawn_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_textured(500)
    monkeypatch.setattr(wsi.export.strips, "STRIP_PX", 1 << 30)
    whole = draw_overlay(source, Style(alpha=0.75, fade=0.1)).astype(int)
    monkeypatch.setattr(wsi.export.strips, "STRIP_PX", 7 * 500)
    strips, _ = read_png(write_overlay(source, tmp_path / "overlay.png"))
    assert strips.shape == whole.shape
    assert np.abs(strips - whole).max() <= 1  # a mean in float32 that falls on a half
    assert (strips == whole).mean() > 0.9999


def test_no_overlay_is_in_memory_whole(tmp_path: Path) -> None:
    source = make_textured(2500)
    write_overlay(source, tmp_path / "first.png")  # fonts load
    tracemalloc.start()
    path = write_overlay(source, tmp_path / "overlay.png")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    with Image.open(path) as picture:
        assert picture.width * picture.height * 3 > 14e6
    assert peak < 12e6


def test_no_bare_heatmap_is_in_memory_whole(tmp_path: Path) -> None:
    source = make_textured(2500)
    write_heatmap(source, tmp_path / "first.png")
    tracemalloc.start()
    path = write_heatmap(source, tmp_path / "heatmap.png")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    with Image.open(path) as picture:
        assert picture.width * picture.height * 4 > 20e6
    assert peak < 8e6


def test_a_picture_whose_strips_are_too_few_is_not_written(tmp_path: Path) -> None:
    strips = [np.zeros((3, 5, 3), np.uint8)]
    with pytest.raises(ValueError, match="strips of 3 rows for a picture of 4"):
        write_png(tmp_path / "a.png", Size(5, 4), 3, strips)
    assert list(tmp_path.iterdir()) == []
