"""Tissue found on painted slides of known areas, and on real ones."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from wsi.background import background_colour, normalise_background, optical_density
from wsi.errors import InvalidOption, MissingResolution
from wsi.geometry import Mpp, Scale, Size
from wsi.grid import TileGrid, select_tiles
from wsi.mask import MASK_METHODS, TissueMask, mask_image, mask_picture, tissue_mask
from wsi.overview import Overview, read_overview
from wsi.readers.array import ArraySlide
from wsi.slide import RGB

GLASS = (243, 241, 242)
EOSIN = (220, 160, 195)
FAINT = (238, 226, 234)  # fat and loose stroma
FINDERS = ["saturation", "lab"]

Picture = NDArray[np.uint8]


def glass(height: int = 250, width: int = 250, colour: RGB = GLASS) -> Picture:
    noise = np.random.default_rng(0).integers(-2, 3, (height, width, 3))
    return np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)


def overview(rgb: Picture, mpp: float = 8.0) -> Overview:
    return Overview(rgb, mpp, Scale(1.0, 1.0))


def find(rgb: Picture, method: str, mpp: float = 8.0) -> NDArray[np.bool_]:
    return tissue_mask(overview(rgb, mpp), method).tissue


def overlap(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    return float((found & truth).sum() / (found | truth).sum())


@pytest.mark.parametrize("method", FINDERS)
@pytest.mark.parametrize("colour", [EOSIN, (110, 70, 150), FAINT])
def test_a_disc_of_stain_is_found_with_its_area(method: str, colour: RGB):
    rgb, truth = glass(), np.zeros((250, 250), np.uint8)
    cv2.circle(truth, (120, 130), 80, 1, -1)  # radius 640 um: 1.287 mm2
    rgb[truth == 1] = colour
    mask = tissue_mask(overview(rgb), method)
    close = 0.05 if method == "saturation" else 0.10  # 20 um around it
    assert overlap(mask.tissue, truth == 1) > 1 - close
    assert mask.area_mm2 == pytest.approx(np.pi * 0.64**2, rel=close)


def test_lab_finds_fat_that_saturation_misses():
    rgb = glass()
    cells = np.zeros((160, 160), bool)
    for first in (0, 1):  # membranes, 80 um apart and 16 um thick
        cells[first::10] = cells[:, first::10] = True
    rgb[40:200, 40:200][cells] = (237, 222, 232)
    truth = np.zeros((250, 250), bool)
    truth[40:200, 40:200] = True
    assert overlap(find(rgb, "lab"), truth) > 0.85
    assert overlap(find(rgb, "saturation"), truth) < 0.5


@pytest.mark.parametrize("method", FINDERS)
@pytest.mark.parametrize("colour", [GLASS, (255, 255, 255), (203, 221, 205), (250, 240, 215)])
def test_empty_glass_of_any_tint_is_empty_and_says_so(method: str, colour: RGB):
    mask = tissue_mask(overview(glass(colour=colour)), method)
    assert not mask.tissue.any()
    assert mask.area_mm2 == 0
    assert mask.warnings == (f"no tissue found (method {method})",)


@pytest.mark.parametrize("method", FINDERS)
@pytest.mark.parametrize("colour", [EOSIN, (240, 215, 230), (150, 110, 180)])
def test_a_field_full_of_tissue_is_full(method: str, colour: RGB):
    rgb = glass(colour=colour)
    assert find(rgb, method).all()
    rgb[:, ::3] = (100, 60, 140)  # nuclei: Otsu would split the stains
    assert find(rgb, method).all()


@pytest.mark.parametrize("method", FINDERS)
def test_unscanned_white_beside_tinted_glass_is_no_tissue(method: str):
    rgb = glass(colour=(240, 228, 205))
    rgb[:, 120:] = 255
    rgb[60:160, 20:100] = (200, 120, 150)
    assert overlap(find(rgb, method), (rgb == (200, 120, 150)).all(axis=2)) > 0.85


@pytest.mark.parametrize("method", FINDERS)
def test_black_padding_is_no_tissue_even_with_compression_noise(method: str):
    rgb = glass()
    rgb[:, 200:] = np.random.default_rng(1).integers(0, 9, (250, 50, 3))
    for remove_pen in (True, False):
        mask = tissue_mask(overview(rgb), method, remove_pen=remove_pen)
        assert not mask.tissue[:, 200:].any()


@pytest.mark.parametrize("method", FINDERS)
def test_islands_and_holes_are_judged_in_square_micrometres(method: str):
    rgb = glass()
    rgb[20:120, 20:120] = EOSIN
    rgb[50:60, 50:60] = GLASS  # hole of 6,400 um2: filled
    rgb[80:110, 80:110] = GLASS  # hole of 57,600 um2: stays
    rgb[200:210, 200:210] = EOSIN  # island of 6,400 um2: goes
    rgb[150:175, 200:225] = EOSIN  # island of 40,000 um2: stays
    found = find(rgb, method)
    assert found[55, 55]
    assert not found[95, 95]
    assert not found[190:220, 190:220].any()
    assert found[162, 212]
    everything = tissue_mask(overview(rgb), method, min_island_um2=0, max_hole_um2=0).tissue
    assert everything[205, 205]


@pytest.mark.parametrize("method", FINDERS)
def test_pen_beside_and_across_the_tissue_is_taken_out_border_and_all(method: str):
    rgb = glass()
    rgb[60:190, 60:190] = EOSIN
    stroke = np.zeros((250, 250), np.float32)
    stroke[100:120, 5:245] = 1
    stroke[5:30, 5:245] = 1
    ink = cv2.GaussianBlur(stroke, (0, 0), 3)[..., None]
    rgb = (rgb * (np.array((60, 150, 130)) / np.array(GLASS)) ** ink).astype(np.uint8)
    with_pen = tissue_mask(overview(rgb), method, remove_pen=False).tissue
    found = find(rgb, method)
    assert with_pen[stroke == 1].all()
    assert not found[stroke == 1].any()
    assert not found[:55].any()  # nor the pale border of the upper stroke
    assert found[62:90, 62:188].all()
    assert found[132:188, 62:188].all()


def test_none_takes_everything():
    assert tissue_mask(overview(glass()), "none").tissue.all()


@pytest.mark.parametrize("method", MASK_METHODS)
def test_a_slide_is_read_at_8_um(method: str):
    pixels = np.full((800, 1600, 3), 255, np.uint8)
    pixels[:, 800:] = EOSIN
    mask = tissue_mask(ArraySlide([pixels], Mpp(1.0, 1.0)), method)
    assert (mask.mpp, mask.px0, mask.method) == (8.0, (8.0, 8.0), method)
    assert mask.tissue.shape == (100, 200)
    assert mask.tissue[:, 102:].all()


def test_a_field_of_a_microscope_is_not_a_small_island():
    rgb = glass(40, 40, (245, 245, 245))
    rgb[:, :20] = EOSIN  # at 0.25 um/px: 10 x 5 um
    assert find(rgb, "saturation", mpp=0.25)[:, :18].all()


def test_strips_do_not_show(monkeypatch: pytest.MonkeyPatch):
    rgb = np.random.default_rng(2).integers(90, 250, (211, 173, 3), dtype=np.uint8)
    whole = [find(rgb, method) for method in FINDERS]
    monkeypatch.setattr("wsi.background.STRIP_PX", 1000)
    for method, expected in zip(FINDERS, whole, strict=True):
        assert np.array_equal(find(rgb, method), expected)


def test_unknown_methods_and_negative_areas_are_refused():
    with pytest.raises(InvalidOption, match="saturation, lab, none"):
        tissue_mask(overview(glass()), "entropy")
    with pytest.raises(InvalidOption, match="-1"):
        tissue_mask(overview(glass()), min_island_um2=-1)
    with pytest.raises(MissingResolution):
        tissue_mask(ArraySlide([glass()]))


# background


@pytest.mark.parametrize("colour", [(243, 241, 242), (203, 221, 205), (250, 240, 215)])
def test_the_glass_is_the_brightest_green_and_not_the_unscanned_white(colour: RGB):
    rgb = glass(colour=colour)
    rgb[:200] = EOSIN
    rgb[:, 120:] = 255
    assert np.abs(np.subtract(background_colour(rgb), colour)).max() <= 1


@pytest.mark.parametrize("colour", [(255, 255, 255), (240, 215, 230), (90, 60, 120), (0, 0, 0)])
def test_without_glass_white_is_taken(colour: RGB):
    assert background_colour(np.full((50, 50, 3), colour, np.uint8)) == (255, 255, 255)


def test_glass_becomes_white_and_half_its_light_is_a_density_of_ln_2():
    rgb = np.array([[[240, 220, 200], [120, 110, 100], [250, 250, 250], [0, 0, 0]]], np.uint8)
    normal = normalise_background(rgb, (240, 220, 200))
    assert normal[0].tolist() == [[255] * 3, [128] * 3, [255] * 3, [0] * 3]
    density = optical_density(rgb, (240, 220, 200))
    assert density[0].tolist() == [[0] * 3, [55] * 3, [0] * 3, [255] * 3]  # 80 ln 2 = 55.5


# pictures


def test_the_mask_as_a_picture_is_0_and_255():
    tissue = np.array([[True, False], [False, True]])
    image = mask_image(TissueMask(tissue, 8.0, Scale(1, 1), "user"))
    assert image.dtype == np.uint8
    assert image.tolist() == [[255, 0], [0, 255]]


def test_the_picture_outlines_the_tissue_and_pales_the_rest():
    rgb = np.full((60, 80, 3), 100, np.uint8)
    tissue = np.zeros((60, 80), bool)
    tissue[20:40, 30:50] = True
    picture = mask_picture(overview(rgb), TissueMask(tissue, 8.0, Scale(1, 1), "user"))
    assert picture[30, 40].tolist() == [100, 100, 100]
    assert picture[5, 5].tolist() == [170, 170, 170]  # 100 + 0.45 * 155, rounded
    assert picture[20, 40].tolist() == picture[39, 30].tolist() == [0, 90, 255]
    assert (rgb == 100).all()  # the overview is left as it was


def test_a_mask_of_another_resolution_is_drawn_in_place():
    tissue = np.zeros((6, 8), bool)
    tissue[2:4, 3:5] = True
    rgb = np.full((60, 80, 3), 100, np.uint8)
    picture = mask_picture(overview(rgb), TissueMask(tissue, 80.0, Scale(10, 10), "user"))
    assert picture[30, 40].tolist() == [100, 100, 100]
    assert picture[15, 40].tolist() == [170, 170, 170]


# real tissue


def picture(path: Path) -> Picture:
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.mark.real_data
@pytest.mark.parametrize("method", FINDERS)
@pytest.mark.parametrize(
    ("name", "mpp", "kept"),
    [
        ("pen/pen_red", 20.0, 0.02),
        ("pen/pen_green", 20.0, 0.01),
        ("pen/pen_black", 8.0, 0.0),
        ("coverslip/coverslip_edge", 20.0, 0.08),
    ],
)
def test_real_pen_and_glass_edges_are_no_tissue(
    real_data: Path, method: str, name: str, mpp: float, kept: float
):
    folder = real_data / "artefacts"
    artefact = picture(folder / f"{name}_mask.png")[..., 0] > 127
    found = find(picture(folder / f"{name}.png"), method, mpp)
    assert found[artefact].mean() <= kept


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["almost-white-1", "no-tissue", "no-tissue-line", "no-tissue2"])
def test_real_empty_glass_is_empty(real_data: Path, name: str):
    rgb = picture(real_data / "artefacts" / "tiles" / f"{name}.png")
    assert not find(rgb, "saturation", 4.0).any()


def mosaic(folder: Path, patient: str) -> tuple[Picture, NDArray[np.int64]]:
    """A slide at 4 um/px, and its tiles: x, y, label."""
    with (folder / "tiles.csv").open(newline="") as table:
        rows = [row for row in csv.DictReader(table) if row["patient"] == patient]
    names = ("x", "y", "label", "index", "width", "height")
    tiles = np.array([[int(row[name]) for name in names] for row in rows])
    sheet = picture(folder / f"{patient}.webp")
    rgb = np.full((tiles[:, 1].max() + 49, tiles[:, 0].max() + 49, 3), 255, np.uint8)
    for x, y, _, index, width, height in tiles:
        top, left = divmod(index, 64)
        cell = sheet[top * 50 : top * 50 + height, left * 50 : left * 50 + width]
        rgb[y - 1 : y - 1 + height, x - 1 : x - 1 + width] = cell
    return rgb, tiles[:, :3] - (1, 1, 0)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("patient", "method", "least_kept", "least_kept_idc"),
    [
        ("9083", "saturation", 0.95, 0.99),  # blood beside the tumour
        ("9124", "saturation", 0.98, 1.0),  # a blood clot
        ("8865", "lab", 0.95, 1.0),  # fat
    ],
)
def test_tiles_of_real_tumours_are_kept(
    real_data: Path, patient: str, method: str, least_kept: float, least_kept_idc: float
):
    rgb, tiles = mosaic(real_data / "idc", patient)
    mask = tissue_mask(read_overview(ArraySlide([rgb], Mpp(4.0, 4.0)), 8.0), method)
    grid = TileGrid.over(Size(rgb.shape[1], rgb.shape[0]), Mpp(4.0, 4.0), tile_px=50, mpp=4.0)
    selected = {(int(row), int(column)) for row, column in select_tiles(grid, mask)}
    kept = np.array([(y // 50, x // 50) in selected for x, y, _ in tiles.tolist()])
    assert kept.mean() >= least_kept
    assert kept[tiles[:, 2] == 1].mean() >= least_kept_idc
