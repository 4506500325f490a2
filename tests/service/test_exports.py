"""A finished result in further formats, as the command line writes them."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import ImageCms

from tests.service.painted import paint, write_model, write_slide
from tests.service.test_cli import wsi
from tests.wsi.readers.tiffs import write_tiff
from wsi.store import read_heatmap

EVERY_FORMAT = (
    "ome-zarr", "ome-tiff", "png", "overlay", "csv", "hdf5", "geojson", "regions", "report",
)  # fmt: skip


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """4 x 6 tiles of 16 px at 0.5 um/px, red 0 to 230 in steps of 10; the slide lies beside."""
    values = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)
    slide = write_slide(tmp_path / "painted.tiff", [paint(values, 16, 96, 64)], 0.5)
    model = write_model(tmp_path / "model", 16, 0.5)
    done = wsi("heatmap", slide, "-o", tmp_path / "out", "-m", model, "--mask", "none")
    assert done.returncode == 0, done.stderr
    return tmp_path / "out" / "painted.tiff"


def all_formats() -> list[str]:
    return [word for name in EVERY_FORMAT for word in ("-f", name)]


def region_count(folder: Path) -> int:
    return len(
        json.loads(gzip.decompress((folder / "regions.geojson.gz").read_bytes()))["features"]
    )


def test_result_without_tissue_goes_into_every_format(tmp_path: Path) -> None:
    white = write_slide(tmp_path / "white.tiff", [np.full((600, 600, 3), 255, np.uint8)], 0.5)
    model = write_model(tmp_path / "model", 16, 0.5)
    assert wsi("heatmap", white, "-o", tmp_path / "out", "-m", model).returncode == 0
    done = wsi("export", tmp_path / "out" / "white.tiff", "-o", tmp_path / "x", *all_formats())
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "x").iterdir())) == len(EVERY_FORMAT)


def test_threshold_decides_what_is_a_region(result: Path, tmp_path: Path) -> None:
    for name, threshold in (("low", 0.0), ("high", 1.0)):
        done = wsi(
            "export", result, "-f", "regions", "--threshold", threshold, "-o", tmp_path / name
        )
        assert done.returncode == 0, done.stderr
    assert region_count(tmp_path / "low") == 1  # everything
    assert region_count(tmp_path / "high") == 0  # the reddest tile is 230 / 255


def test_older_ome_zarr_holds_the_same_heatmap(result: Path, tmp_path: Path) -> None:
    done = wsi("export", result, "-f", "ome-zarr", "--ngff", "0.4", "-o", tmp_path / "x")
    assert done.returncode == 0, done.stderr
    older, newer = read_heatmap(tmp_path / "x/heatmap.zarr"), read_heatmap(result / "heatmap.zarr")
    assert (older.ngff, newer.ngff) == ("0.4", "0.5")
    np.testing.assert_array_equal(older.levels[0], newer.levels[0])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("-f", "csv", "--threshold", 0.2), "--threshold changes nothing in csv"),
        (("-f", "csv", "--ngff", "0.4"), "--ngff changes nothing in csv"),
        (("-f", "overlay", "--frame", "level0"), "ask for geojson or regions"),
        (("-f", "regions", "--frame", "moon"), "moon"),
        (("-f", "ome-zarr", "--ngff", "0.6"), "0.6"),
        (("-f", "overlay", "--slide", "nowhere.svs"), "nowhere.svs"),
    ],
)
def test_option_that_no_format_takes_is_refused(
    result: Path, tmp_path: Path, options: tuple[object, ...], says: str
) -> None:
    done = wsi("export", result, *options, "-o", tmp_path / "x")
    assert done.returncode == 1
    assert says in done.stderr
    assert not list((tmp_path / "x").glob("*"))


@pytest.mark.parametrize("name", ["csv", "ome-zarr"])
def test_files_that_the_manifest_vouches_for_stay(result: Path, name: str) -> None:
    done = wsi("export", result, "-f", name, "--overwrite")
    assert done.returncode == 1
    assert "part of the result" in done.stderr


def test_moved_slide_is_found_where_it_is_said_to_be(result: Path, tmp_path: Path) -> None:
    moved = (tmp_path / "painted.tiff").rename(tmp_path / "moved.tiff")
    command = ("export", result, "-f", "overlay", "-o", tmp_path / "x")
    lost = wsi(*command)
    assert lost.returncode == 1
    assert "--slide" in lost.stderr
    assert wsi(*command, "--slide", moved).returncode == 0
    assert (tmp_path / "x" / "overlay.png").read_bytes() == (result / "overlay.png").read_bytes()


def test_another_slide_is_not_taken_for_the_results(result: Path, tmp_path: Path) -> None:
    other = write_slide(tmp_path / "other.tiff", [np.zeros((64, 80, 3), np.uint8)], 0.5)
    done = wsi("export", result, "-f", "overlay", "-o", tmp_path / "x", "--slide", other)
    assert done.returncode == 1
    assert "80 x 64 px" in done.stderr


def test_another_slide_of_the_same_size_is_not_taken_either(result: Path, tmp_path: Path) -> None:
    other = write_slide(tmp_path / "other.tiff", [np.zeros((64, 96, 3), np.uint8)], 0.5)
    done = wsi("export", result, "-f", "overlay", "-o", tmp_path / "x", "--slide", other)
    assert (done.returncode, "another one" in done.stderr) == (1, True)


def test_picture_has_the_colours_that_the_result_was_made_with(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"tmp!").replace(b"bXYZ", b"rXYZ").replace(b"tmp!", b"bXYZ")
    red = np.full((64, 96, 3), (200, 0, 0), np.uint8)  # which this profile calls blue
    write_tiff(tmp_path / "red.tiff", red, iccprofile=swapped)
    model = write_model(tmp_path / "model", 16, 0.5)
    for name, icc in (("blue", ("--icc",)), ("red", ())):
        options = ("-m", model, "--mpp", 0.5, "--mask", "none", *icc)
        done = wsi("heatmap", tmp_path / "red.tiff", "-o", tmp_path / name, *options)
        assert done.returncode == 0, done.stderr
        result, out = tmp_path / name / "red.tiff", tmp_path / f"{name} again"
        assert wsi("export", result, "-f", "overlay", "-o", out).returncode == 0
        assert (out / "overlay.png").read_bytes() == (result / "overlay.png").read_bytes()
    first, second = (tmp_path / name / "red.tiff" / "overlay.png" for name in ("blue", "red"))
    assert first.read_bytes() != second.read_bytes()


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"request": 7}'])
def test_damaged_record_of_the_run_is_one_sentence(result: Path, tmp_path: Path, text: str) -> None:
    (result / "run.json").write_text(text)
    done = wsi("export", result, "-f", "overlay", "-o", tmp_path / "x")
    assert (done.returncode, "not the record of a run" in done.stderr) == (1, True)


def test_damaged_manifest_is_one_sentence(result: Path, tmp_path: Path) -> None:
    manifest = json.loads((result / "manifest.json").read_text())
    del manifest["grid"]["stride_px"]
    (result / "manifest.json").write_text(json.dumps(manifest))
    done = wsi("export", result, "-f", "csv", "-o", tmp_path / "x")
    assert (done.returncode, "its manifest is damaged" in done.stderr) == (1, True)


def test_result_of_another_schema_is_refused(result: Path, tmp_path: Path) -> None:
    manifest = json.loads((result / "manifest.json").read_text())
    (result / "manifest.json").write_text(json.dumps(manifest | {"schema": 99}))
    done = wsi("export", result, "-f", "csv", "-o", tmp_path / "x")
    assert done.returncode == 1
    assert "schema 99" in done.stderr


def flip(path: Path) -> None:
    """One bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x40
    path.write_bytes(content)


def chunk_of(result: Path) -> Path:
    return next(p for p in sorted((result / "heatmap.zarr/0/c").rglob("*")) if p.is_file())


def test_damaged_heatmap_is_not_exported(result: Path, tmp_path: Path) -> None:
    flip(chunk_of(result))
    done = wsi("export", result, "-f", "ome-tiff", "-o", tmp_path / "x")
    assert done.returncode == 1
    assert f"{chunk_of(result)}: it was changed or damaged since" in done.stderr
    assert "wsi heatmap --overwrite" in done.stderr
    assert not (tmp_path / "x").exists()


def test_damaged_result_is_not_called_equal_and_is_made_again_where_asked_for(
    result: Path, tmp_path: Path
) -> None:
    whole = chunk_of(result).read_bytes()
    flip(chunk_of(result))
    command = (
        "heatmap", tmp_path / "painted.tiff", "-o", tmp_path / "out", "-m", tmp_path / "model",
        "--mask", "none",
    )  # fmt: skip
    done = wsi(*command)
    assert (done.returncode, str(chunk_of(result)) in done.stderr) == (1, True)
    assert wsi(*command, "--overwrite").returncode == 0
    assert chunk_of(result).read_bytes() == whole
    assert "an equal result was there" in wsi(*command).stdout


def test_missing_heatmap_is_named(result: Path, tmp_path: Path) -> None:
    shutil.rmtree(result / "heatmap.zarr")
    done = wsi("export", result, "-f", "csv", "-o", tmp_path / "x")
    assert (done.returncode, "it went missing" in done.stderr) == (1, True)


@pytest.mark.parametrize("name", ["nowhere", "painted.tiff", "out"])
def test_formats_of_what_is_no_result_are_not_listed(
    result: Path, tmp_path: Path, name: str
) -> None:
    done = wsi("export", tmp_path / name)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no finished result is there" in done.stderr


def test_unfinished_result_is_not_exported(result: Path, tmp_path: Path) -> None:
    unfinished = result.rename(tmp_path / "painted.tiff.partial")
    done = wsi("export", unfinished, "-f", "csv", "-o", tmp_path / "x")
    assert done.returncode == 1
    assert "a run that was stopped left it unfinished" in done.stderr


@pytest.mark.parametrize("name", ["manifest.json", "run.json"])
def test_deeply_nested_record_is_one_sentence(result: Path, tmp_path: Path, name: str) -> None:
    (result / name).write_text("[" * 200_000)
    done = wsi("export", result, "-f", "overlay", "-o", tmp_path / "x")
    assert (done.returncode, f"{name}: not " in done.stderr) == (1, True)
