"""Why a place of a slide has its probability."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.errors import InvalidRequest
from service.explanation import CONTEXT_PX, explain_place, read_place
from tests.models.small_models import make_card
from tests.models.small_models import write_model as write_network
from tests.service.painted import paint, write_model, write_slide
from tests.service.test_cli import wsi
from wsi.readers import open_slide

VALUES = (np.arange(24).reshape(4, 6) * 10).astype(np.uint8)
"""Of tiles of 16 px, six a row: a slide of 96 x 64 px at 0.5 um/px."""


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    return write_slide(tmp_path / "slide.tiff", [paint(VALUES, 16, 96, 64)], 0.5)


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


@pytest.mark.parametrize(("at0", "row", "column"), [((0, 0), 0, 0), ((47.9, 31.9), 1, 2)])
def test_the_tile_of_the_grid_that_holds_the_position_is_explained(
    slide: Path, tmp_path: Path, at0: tuple[float, float], row: int, column: int
) -> None:
    model = write_model(tmp_path / "mean", 16, 0.5)
    out = tmp_path / "out.png"
    found = explain_place(slide, at0, out, model=model, device="cpu")
    assert found["box0"] == [16 * column, 16 * row, 16, 16]
    assert found["prob"][found["target"]] == pytest.approx(VALUES[row, column] / 255, abs=1e-4)
    assert found["gradient_map_px"] is None
    assert size_of(out) == (1800, 552)


def test_the_tile_is_in_the_middle_of_what_is_shown_around_it(slide: Path) -> None:
    """Five tiles a side: a tile has 100 of 500 px, and starts at 200."""
    with open_slide(str(slide)) as opened:
        place = read_place(opened, (40, 24), tile_px=16, mpp=0.5)
    middle = place.context[205:295, 205:295]
    assert place.context.shape == (CONTEXT_PX, CONTEXT_PX, 3)
    np.testing.assert_array_equal(middle, np.full_like(middle, place.rgb[8, 8]))


def test_off_the_slide_is_background(slide: Path) -> None:
    with open_slide(str(slide)) as opened:
        place = read_place(opened, (0, 0), tile_px=16, mpp=0.5)
    assert (place.context[:195] == 255).all()
    assert (place.context[:, :195] == 255).all()


@pytest.mark.parametrize("at0", [(-1, 0), (96, 0), (0, 64)])
def test_a_position_off_the_slide_is_refused(
    slide: Path, tmp_path: Path, at0: tuple[float, float]
) -> None:
    model = write_model(tmp_path / "mean", 16, 0.5)
    with pytest.raises(InvalidRequest, match=r"not on the slide: .* x 0 to 96 and y 0 to 64"):
        explain_place(slide, at0, tmp_path / "out.png", model=model)
    assert not list(tmp_path.glob("out*"))


def test_the_command_writes_the_picture_of_a_network(slide: Path, tmp_path: Path) -> None:
    card = write_network(tmp_path / "net", make_card(mpp=0.5, tile_px=32, input_px=32))
    out = tmp_path / "why.png"
    done = wsi("explain", str(slide), "--at", "40,24", "--model", str(card), "-o", str(out))
    assert done.returncode == 0, done.stderr
    assert "idc 0." in done.stdout
    assert size_of(out) == (1800, 552)


def test_a_position_that_is_none_is_one_sentence(slide: Path) -> None:
    done = wsi("explain", str(slide), "--at", "here")
    assert done.returncode == 1
    assert "--at 'here': use two numbers, X,Y" in done.stderr


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_the_slide_and_the_weights_are_never_replaced(
    tmp_path: Path, overwrite: tuple[str, ...]
) -> None:
    pixels = np.full((64, 96, 3), 200, np.uint8)
    Image.fromarray(pixels).save(tmp_path / "slide.png")
    card = write_network(tmp_path / "net", make_card(mpp=0.5, tile_px=32, input_px=32))
    kept = [tmp_path / "slide.png", *card.parent.iterdir()]
    before = [path.read_bytes() for path in kept]
    for out in kept:
        options = ("--at", "40,24", "--mpp", 0.5, "-m", card, "-o", out, *overwrite)
        assert wsi("explain", tmp_path / "slide.png", *options).returncode == 1
    assert [path.read_bytes() for path in kept] == before


def test_a_picture_that_is_there_is_replaced_where_somebody_says_so(
    slide: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(b"a photograph")
    model = write_model(tmp_path / "mean", 16, 0.5)
    options = ("--at", "40,24", "-m", model, "-o", tmp_path / "a.png")
    done = wsi("explain", slide, *options)
    assert (done.returncode, "a.png: it is there; use --overwrite" in done.stderr) == (1, True)
    assert (tmp_path / "a.png").read_bytes() == b"a photograph"
    assert wsi("explain", slide, *options, "--overwrite").returncode == 0
    assert size_of(tmp_path / "a.png") == (1800, 552)


def test_a_folder_in_place_of_the_picture_is_found_before_the_work(
    slide: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.png").mkdir()
    done = wsi("explain", slide, "--at", "40,24", "-m", "no-model", "-o", tmp_path / "a.png")
    assert "a.png is a folder; give a file's name as --out" in done.stderr
