import os
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import openslide
import pytest
from PIL import Image

from wsi.errors import InvalidOption, ResultExists
from wsi.geometry import Box, Size
from wsi.phantom import PhantomTruth, draw_phantom, truth_path
from wsi.phantom.compose import Atlas, Painter, draw_atlas
from wsi.phantom.plan import MARGIN, make_plan
from wsi.phantom.texture import draw_ink
from wsi.phantom.torus import Torus

MPP = 1.0  # coarse, so that a test draws 3 mm of tissue in a second
SIDE = 3000
ONES = np.ones((16, 16), bool)  # pixels of a cell


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return draw_atlas(MPP, 5)


def make_painter(atlas: Atlas, pen: str = "green", side: int = SIDE) -> Painter:
    plan = make_plan(Size(side, side), MPP, seed=5, cancer_fraction=0.25, pen=True)
    ink = draw_ink(pen, Torus(512, MPP), seed=5)
    return Painter(plan, replace(atlas, ink=ink), 5)


@pytest.fixture(scope="module")
def painter(atlas: Atlas) -> Painter:
    return make_painter(atlas)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PhantomTruth]:
    out = tmp_path_factory.mktemp("phantom") / "slide.tiff"
    return out, draw_phantom(out, size_px=Size(3300, 2700), mpp=MPP, seed=1)


def read_whole(path: Path) -> np.ndarray:
    with openslide.OpenSlide(path) as slide:
        return np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB"))


def read_truth(slide: Path) -> np.ndarray:
    with Image.open(truth_path(slide)) as picture:
        return np.asarray(picture)


def test_openslide_opens_the_slide_at_its_resolution(drawn: tuple[Path, PhantomTruth]):
    with openslide.OpenSlide(drawn[0]) as slide:
        assert slide.level_dimensions == ((3300, 2700), (825, 675))
        assert float(slide.properties["openslide.mpp-x"]) == MPP


def test_truth_covers_level_0_in_cells_of_16_um(drawn: tuple[Path, PhantomTruth]):
    _, truth = drawn
    assert truth.px0 == (16, 16)
    assert truth.cancer.shape == truth.tissue.shape == (169, 207)  # 2700 / 16, 3300 / 16, up
    assert not (truth.cancer & ~truth.tissue).any()


def test_the_truth_picture_says_what_the_truth_says(drawn: tuple[Path, PhantomTruth]):
    out, truth = drawn
    assert truth_path(out).name == "slide.truth.png"
    with Image.open(truth_path(out)) as picture:
        assert float(picture.text["mpp"]) == 16.0
    assert (read_truth(out) == truth.cancer * 255).all()


def test_cancer_takes_the_share_that_was_asked_for(drawn: tuple[Path, PhantomTruth]):
    assert drawn[1].cancer_fraction == pytest.approx(0.2, abs=0.02)


def test_outside_the_tissue_is_only_glass(drawn: tuple[Path, PhantomTruth]):
    out, truth = drawn
    glass = ~np.kron(truth.tissue, ONES)[:2700, :3300]
    from scipy.ndimage import binary_erosion

    far_out = binary_erosion(glass, iterations=60)
    assert read_whole(out)[far_out].min() > 235
    tissue = read_whole(out)[~glass]
    assert tissue[:, 1].mean() < 220


def test_cancer_is_darker_and_bluer_than_the_other_tissue(drawn: tuple[Path, PhantomTruth]):
    out, truth = drawn
    where = np.kron(truth.cancer, ONES)[:2700, :3300]
    other = np.kron(truth.tissue & ~truth.cancer, ONES)[:2700, :3300]
    rgb = read_whole(out).astype(float)
    red, blue = rgb[..., 0], rgb[..., 2]
    assert red[where].mean() < red[other].mean() - 25
    assert (blue - red)[where].mean() > (blue - red)[other].mean() + 10


def test_blocks_join_without_a_seam_however_they_are_cut(painter: Painter):
    whole = painter.paint(Box(500, 700, 1100, 900))
    rng = np.random.default_rng(0)
    for x, y in rng.integers(0, (1100 - 333, 900 - 257), size=(25, 2)).tolist():
        part = painter.paint(Box(500 + x, 700 + y, 333, 257))
        assert (part == whole[y : y + 257, x : x + 333]).all()


def test_blocks_at_the_corners_of_the_slide_can_be_painted(painter: Painter):
    for x, y in ((0, 0), (SIDE - 50, 0), (0, SIDE - 50), (SIDE - 50, SIDE - 50)):
        assert painter.paint(Box(x, y, 50, 50)).min() > 235  # glass


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path):
    first, again, other = (tmp_path / name for name in ("a.tiff", "b.tiff", "c.tiff"))
    for out, seed, workers in ((first, 3, 1), (again, 3, 3), (other, 4, 2)):
        draw_phantom(out, size_px=1500, mpp=MPP, seed=seed, workers=workers)
    assert first.read_bytes() == again.read_bytes()
    assert truth_path(first).read_bytes() == truth_path(again).read_bytes()
    assert first.read_bytes() != other.read_bytes()


def test_without_cancer_the_truth_is_empty(tmp_path: Path):
    truth = draw_phantom(tmp_path / "benign.tiff", size_px=1500, mpp=MPP, cancer_fraction=0)
    assert not truth.cancer.any()
    assert truth.tissue.any()


@pytest.mark.parametrize(
    ("pen", "channel", "darkest"),
    [("red", 0, False), ("green", 1, False), ("blue", 2, False), ("black", 1, True)],
)
def test_a_pen_leaves_its_colour_along_its_line(
    atlas: Atlas, pen: str, channel: int, darkest: bool
):
    painter = make_painter(atlas, pen, side=2000)
    line = np.kron(painter.plan.fields["pen"][MARGIN:-MARGIN, MARGIN:-MARGIN] > 140, ONES)
    colour = painter.paint(Box(0, 0, 2000, 2000))[line].mean(axis=0)
    assert line.sum() > 20_000
    assert colour.max() < 90 if darkest else colour.argmax() == channel
    assert darkest or colour[channel] > sorted(colour)[1] + 30


def test_the_truth_knows_where_the_pen_was(tmp_path: Path):
    marked = draw_phantom(tmp_path / "marked.tiff", size_px=1500, mpp=MPP, pen="red")
    plain = draw_phantom(tmp_path / "plain.tiff", size_px=1500, mpp=MPP)
    assert marked.pen.any()
    assert not plain.pen.any()
    assert (marked.cancer == plain.cancer).all()


def test_existing_files_are_kept_unless_asked(tmp_path: Path):
    out = tmp_path / "slide.tiff"
    truth_path(out).write_text("mine")
    with pytest.raises(ResultExists, match=r"slide\.truth\.png"):
        draw_phantom(out, size_px=1000, mpp=MPP)
    assert [path.name for path in tmp_path.iterdir()] == ["slide.truth.png"]
    draw_phantom(out, size_px=1000, mpp=MPP, overwrite=True)
    assert read_truth(out).shape == (63, 63)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size_px": 999}, "999x999 px; each side can have 1000 to 100000"),
        ({"size_px": 100_001}, "100001x100001 px"),
        ({"mpp": 4.0}, "at 4.0 um/px; it can be drawn at 0.1 to 1.0"),
        ({"pen": "pink"}, "a 'pink' pen; there are red, green, blue, black"),
        ({"cancer_fraction": 0.7}, "use 0 to 0.6"),
        ({"seed": -1}, "seed -1; use 0 or more"),
    ],
)
def test_what_cannot_be_drawn_is_refused(tmp_path: Path, options: dict[str, object], message: str):
    with pytest.raises(InvalidOption, match=message):
        draw_phantom(tmp_path / "slide.tiff", **options)
    assert list(tmp_path.iterdir()) == []


def test_noise_repeats_without_a_seam():
    torus = Torus(256, 1.0)
    for options in ({}, {"stretch": 5.0, "angle": 0.7}, {"ripple": True}):
        noise = torus.noise(np.random.default_rng(0), 20, **options)
        across = np.abs(noise[:, 0] - noise[:, -1]).mean()
        within = np.abs(np.diff(noise, axis=1)).mean()
        assert across < 1.5 * within


def test_nearest_points_and_borders_agree_with_brute_force():
    torus = Torus(128, 1.0)
    xy = torus.points(np.random.default_rng(0), 30)
    owner, distance = torus.nearest(xy)
    y, x = np.mgrid[:128, :128] + 0.5
    offset = np.stack([x, y], -1)[:, :, None] - xy
    brute = np.sort(np.hypot(*np.moveaxis((offset + 64) % 128 - 64, -1, 0)), axis=-1)
    assert np.abs(distance - brute[..., 0]).max() < 2
    assert set(np.unique(owner)) == set(range(len(xy)))
    at_border = brute[..., 1] - brute[..., 0] < 0.5
    assert torus.borders(xy, owner)[at_border].max() < 1.5


@pytest.mark.parametrize("name", ["", ".", "folder", "pipe"])
def test_only_a_file_is_replaced_and_that_is_known_before_the_drawing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)

    def drawn(done: int, whole: int) -> None:
        raise AssertionError("it was drawn")

    with pytest.raises(InvalidOption, match=r"is a folder|is no ordinary file"):
        draw_phantom(Path(name), size_px=1000, mpp=MPP, overwrite=True, on_progress=drawn)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
