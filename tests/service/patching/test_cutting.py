"""Annotated slides to labelled patches: every pixel and label against other programs."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
from PIL import Image
from skimage.draw import polygon2mask

from models.datasets import open_data
from models.datasets.report import examine
from service.errors import Stopped
from service.patch_request import PatchRequest
from service.patching import cut_patches
from service.progress import Silent
from tests.models.annotated import (
    Outline,
    region_xml,
    write_drawn,
)
from tests.service.patching.drawn_slides import (
    DRAWN,
    FOLDER,
    HEIGHT,
    PX,
    REQUEST,
    WIDTH,
    rows_of,
    write_annotated,
)
from wsi.errors import (
    ResultExists,
    StoreIncomplete,
    StoreMismatch,
)
from wsi.store.folder import partial_path
from wsi.store.journal import FolderLock


def read_rgb(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def painted_parts(outline: Outline) -> np.ndarray:
    """Of each patch of the grid, painted by scikit-image: (7, 10); a pixel has 3 x 3 samples."""
    corners = np.array(outline, np.float64)[:, ::-1] * 3 - 0.5  # samples lie in cells' centres
    painted = polygon2mask((HEIGHT * 3, WIDTH * 3), corners)
    return painted.reshape(HEIGHT // PX, PX * 3, WIDTH // PX, PX * 3).mean((1, 3))


def content_of(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_every_patch_has_the_pixels_that_openslide_reads_there(cut: tuple[Path, Any], slides: Path):
    out, _ = cut
    rows = list(rows_of(out))
    for row in rows:
        with openslide.OpenSlide(slides / f"{row['slide']}.svs") as slide:
            place = int(row["x0"]), int(row["y0"])
            expected = np.asarray(slide.read_region(place, 0, (PX, PX)).convert("RGB"))
        found = read_rgb(out / "Photos" / row["folder"] / row["file"])
        np.testing.assert_array_equal(found, expected)
    assert {row["slide"] for row in rows} == {"A01", "A02"}


def test_every_patch_of_the_grid_has_the_label_that_its_painted_area_gives(
    cut: tuple[Path, dict[str, Any]],
):
    out, facts = cut
    listed = {
        (int(row["x0"]), int(row["y0"])): row["folder"]
        for row in rows_of(out)
        if row["slide"] == "A01"
    }
    parts = {FOLDER[label]: painted_parts(outline) for label, outline in DRAWN.items()}
    assert all(np.abs(part - 0.75).min() > 0.005 for part in parts.values())  # none is a near thing
    between = 0
    for row, column in np.ndindex(HEIGHT // PX, WIDTH // PX):
        won = [folder for folder, part in parts.items() if part[row, column] > 0.75]
        is_normal = not any(part[row, column] for part in parts.values())
        expected = won[0] if won else "Normal" if is_normal else None
        assert listed.get((column * PX, row * PX)) == expected
        between += expected is None
    assert facts["slides"]["A01"]["between"] == between
    assert len(listed) + between == 70
    assert set(listed.values()) == {"Normal", "Benign", "InSitu", "Invasive"}


def test_the_counts_are_those_of_the_files(cut: tuple[Path, dict[str, Any]]):
    out, facts = cut
    files = {
        name: len(list((out / "Photos" / folder).glob("*.png")))
        for name, folder in zip(
            facts["patches"], ("Normal", "Benign", "InSitu", "Invasive"), strict=True
        )
    }
    assert facts["patches"] == files
    assert sum(files.values()) == len(list(rows_of(out)))
    assert facts["without_annotations"] == ["01"]
    assert (facts["kept"], facts["warnings"]) == (False, [])


def test_what_was_cut_is_read_as_bach_with_the_slide_as_the_patient(cut: tuple[Path, Any]):
    out, _ = cut
    pictures = open_data(out)
    assert (pictures.layout, pictures.patients_known) == ("bach", True)
    assert pictures.patients == ["A01", "A02"]
    item = next(item for item in pictures.items if item.path.name == "A02_64_0.png")
    assert (item.xy, item.mpp, item.slide) == ((64, 0), 0.42, "A02")
    assert pictures.classes[item.label] == "benign"
    report = examine(pictures)
    assert (report.problems, report.damaged, report.notes) == ((), (), ())
    assert list(report.sizes) == ["64 x 64"]


def test_a_patch_carries_its_resolution_for_other_programs(cut: tuple[Path, Any]):
    out, _ = cut
    with Image.open(next((out / "Photos" / "Benign").glob("*.png"))) as picture:
        assert 25_400 / picture.info["dpi"][0] == pytest.approx(0.42, rel=1e-5)


def test_at_half_the_resolution_pixels_are_averages(slides: Path, tmp_path: Path):
    cut_patches(slides, tmp_path / "out", replace(REQUEST, mpp=0.84, patch_px=32))
    row = next(row for row in rows_of(tmp_path / "out") if row["x0"] == "128")
    with openslide.OpenSlide(slides / f"{row['slide']}.svs") as slide:
        place = int(row["x0"]), int(row["y0"])
        fine = np.asarray(slide.read_region(place, 0, (64, 64)).convert("RGB"), np.float64)
    expected = fine.reshape(32, 2, 32, 2, 3).mean((1, 3))
    found = read_rgb(tmp_path / "out" / "Photos" / row["folder"] / row["file"])
    assert np.abs(found - expected).max() <= 0.5
    assert {row["mpp"] for row in rows_of(tmp_path / "out")} == {"0.84"}


def test_glass_is_not_cut(tmp_path: Path):
    folder = write_annotated(tmp_path / "WSI", glass_from=400, mpp=2.0)
    drawn = folder / "A01.xml"
    drawn.write_text(drawn.read_text().replace("0.420000", "2.0"))
    request = PatchRequest(mpp=2.0, patch_px=PX)
    cut_patches(folder, tmp_path / "out", request)
    columns = {int(row["x0"]) for row in rows_of(tmp_path / "out")}
    assert columns == {0, 64, 128, 192, 256, 320}  # of the one from 384 on a quarter is tissue


def test_a_stopped_run_goes_on_and_ends_in_the_same_bytes(
    cut: tuple[Path, Any], slides: Path, tmp_path: Path
):
    out = tmp_path / "patches"

    class StoppedInTheSecond(Silent):
        stages: tuple[str, ...] = ()

        def start(self, stage: str, total: int) -> None:
            self.stages += (stage,)

        def should_stop(self) -> bool:
            return "A02" in self.stages

    with pytest.raises(Stopped):
        cut_patches(slides, out, REQUEST, progress=StoppedInTheSecond())
    assert not out.exists()
    assert list(json.loads((partial_path(out) / "patches.json").read_text())["slides"]) == ["A01"]
    first = partial_path(out) / "Photos" / "Benign" / "A01_0_0.png"
    stamp = first.stat().st_mtime_ns

    assert cut_patches(slides, out, REQUEST)["kept"] is False
    assert not partial_path(out).exists()
    assert (out / first.relative_to(partial_path(out))).stat().st_mtime_ns == stamp
    assert content_of(out) == content_of(cut[0])


def test_an_equal_result_is_kept_and_another_is_not_written_over(copied: Path, tmp_path: Path):
    out = tmp_path / "out"
    cut_patches(copied, out, REQUEST)
    before = content_of(out)
    assert cut_patches(copied, out, REQUEST)["kept"] is True
    write_drawn(copied / "A02.xml", [region_xml(DRAWN["Benign"], "Benign")])
    with pytest.raises(ResultExists, match="out was not cut from these slides"):
        cut_patches(copied, out, REQUEST)
    assert content_of(out) == before
    facts = cut_patches(copied, out, REQUEST, overwrite=True)
    assert facts["slides"]["A02"]["invasive"] == 0 < facts["slides"]["A01"]["invasive"]


def test_what_was_begun_with_other_options_is_not_gone_on_with(
    slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("service.patching.BATCH_BYTES", 10 * 3 * PX**2)
    out = tmp_path / "out"

    class StoppedInTheFirst(Silent):
        steps = 0

        def advance(self, done: int) -> None:
            self.steps += 1

        def should_stop(self) -> bool:
            return self.steps > 2  # two slides are hashed, ten patches are written

    with pytest.raises(Stopped):
        cut_patches(slides, out, REQUEST, progress=StoppedInTheFirst())
    assert len(list(partial_path(out).rglob("*.png"))) == 10
    other = replace(REQUEST, patch_px=128)
    with pytest.raises(StoreMismatch, match="begun with other slides, annotations or options"):
        cut_patches(slides, out, other)
    cut_patches(slides, out, other, overwrite=True)
    assert {read_rgb(item.path).shape for item in open_data(out).items} == {(128, 128, 3)}


def test_two_at_the_same_time_are_refused(slides: Path, tmp_path: Path):
    out = tmp_path / "out"
    with FolderLock(partial_path(out)), pytest.raises(StoreIncomplete, match="another process"):
        cut_patches(slides, out, REQUEST)


@pytest.mark.parametrize("inside", ["ICIAR2018_BACH_Challenge/WSI", "WSI", "."])
def test_the_slides_are_found_in_the_tree_as_downloaded(tmp_path: Path, inside: str):
    (tmp_path / inside).mkdir(parents=True, exist_ok=True)
    write_annotated(tmp_path / inside)
    assert cut_patches(tmp_path, tmp_path / "out", REQUEST)["patches"]["benign"] > 0
