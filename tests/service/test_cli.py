"""The command line as somebody types it: what is printed, written, and the exit code."""

import errno
import io
import json
import os
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from service.cli import main, run_guarded, sentence_from_oserror
from tests.service.painted import write_slide

SLIDES = ["info", "mask", "tile", "heatmap", "export", "batch", "phantom"]
COMMANDS = [*SLIDES, "models", "train", "evaluate", "doctor"]


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def wsi(*arguments: object, cwd: Path | None = None) -> Done:
    """The command in this process: main() with the words of a command line."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    argv, sys.argv = sys.argv, ["wsi", *map(str, arguments)]
    try:
        with redirect_stdout(out), redirect_stderr(err), chdir(cwd or Path.cwd()):
            main()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    finally:
        sys.argv = argv
    return Done(code, out.getvalue(), err.getvalue())


def test_help_names_every_command() -> None:
    shown = wsi("--help").stdout
    assert all(command in shown for command in COMMANDS)


def test_version_is_that_of_the_package() -> None:
    from wsi import __version__

    assert wsi("--version").stdout == f"wsi {__version__}\n"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, service.cli\n"
        "heavy = {'torch', 'numpy', 'zarr', 'openslide', 'tifffile', 'skimage', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_default_of_the_command_is_the_default_of_the_grid() -> None:
    from service.request import DEFAULT_MIN_TISSUE
    from wsi.grid import MIN_TISSUE

    assert DEFAULT_MIN_TISSUE == MIN_TISSUE


def test_windows_of_the_command_are_those_of_the_heatmap() -> None:
    from service.request import WINDOWS
    from wsi.heatmap import WINDOWS as KNOWN

    assert set(WINDOWS) == set(KNOWN)


def test_info_says_where_the_resolution_is_from(painted: Path) -> None:
    facts = json.loads(wsi("info", painted, "--json").stdout)
    assert (facts["width"], facts["height"]) == (96, 64)
    assert facts["mpp"] == pytest.approx([0.5, 0.5])
    assert facts["mpp_source"]


def test_name_that_is_no_utf8_goes_through_every_command(
    painted: Path, model: str, tmp_path: Path
) -> None:
    slide = painted.rename(tmp_path / os.fsdecode(b"Pr\xe4parat.tiff"))
    run_main = [sys.executable, "-c", "from service.cli import main; main()"]
    shown = subprocess.run([*run_main, "info", slide], capture_output=True, check=True)
    assert rb"Pr\udce4parat.tiff" in shown.stdout
    formats = ("-f", "ome-tiff", "-f", "hdf5", "-f", "regions")
    done = wsi("heatmap", slide, "-o", tmp_path / "out", "-m", model, "--mask", "none", *formats)
    assert done.returncode == 0, done.stderr
    (tmp_path / "list").mkdir()
    slide.rename(tmp_path / "list" / slide.name)
    done = wsi("batch", tmp_path / "list", "-o", tmp_path / "many", "-m", model, "--mask", "none")
    assert done.returncode == 0, done.stderr
    assert rb"Pr\udce4parat.tiff" in (tmp_path / "many" / "summary.csv").read_bytes()


def test_more_memory_than_there_is_ends_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        run_guarded(lambda: np.empty(1 << 60, np.uint8))
    assert left.value.code == 1
    assert capsys.readouterr().err.startswith("error: out of memory (Unable to allocate 1.00 EiB")


def test_heatmap_writes_all_that_it_promises(painted: Path, model: str, tmp_path: Path) -> None:
    done = wsi("heatmap", painted, "-o", tmp_path / "out", "-m", model, "--mask", "none")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "out" / "painted.tiff"
    promised = "heatmap.zarr heatmap.png overlay.png tiles.csv tiles.geojson.gz report.html"
    for name in (*promised.split(), "manifest.json", "run.json"):
        assert (folder / name).exists(), name
    first = (folder / "tiles.csv").read_text().splitlines()[:2]
    assert first == ["minx,miny,width,height,prob_rest,prob_painted", "0,0,16,16,1.0,0.0"]


def test_equal_result_is_kept_and_a_different_one_refused(
    painted: Path, model: str, tmp_path: Path
) -> None:
    command = ("heatmap", painted, "-o", tmp_path / "out", "-m", model, "--mask", "none")
    wsi(*command)
    before = (tmp_path / "out/painted.tiff/run.json").read_text()
    assert json.loads(wsi(*command, "--json").stdout)["kept"] is True
    refused = wsi(*command, "--stride-px", 8)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "--overwrite" in refused.stderr
    assert (tmp_path / "out/painted.tiff/run.json").read_text() == before
    assert wsi(*command, "--stride-px", 8, "--overwrite").returncode == 0


@pytest.mark.parametrize("damaged", ["", "{", "[]"])
def test_result_with_a_damaged_record_is_redone_where_that_is_asked_for(
    painted: Path, model: str, tmp_path: Path, damaged: str
) -> None:
    command = ("heatmap", painted, "-o", tmp_path / "out", "-m", model, "--mask", "none")
    wsi(*command)
    record = tmp_path / "out/painted.tiff/manifest.json"
    whole = record.read_bytes()
    record.write_text(damaged)
    refused = wsi(*command)
    assert (refused.returncode, "use --overwrite to redo it" in refused.stderr) == (1, True)
    assert record.read_text() == damaged
    redone = wsi(*command, "--overwrite")
    assert redone.returncode == 0, redone.stderr
    assert record.read_bytes() == whole


def test_export_writes_further_formats_from_a_result(
    painted: Path, model: str, tmp_path: Path
) -> None:
    wsi("heatmap", painted, "-o", tmp_path / "out", "-m", model, "--mask", "none")
    folder = tmp_path / "out" / "painted.tiff"
    done = wsi("export", folder, "-f", "ome-tiff", "-f", "hdf5", "-f", "regions", "-o", tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("heatmap.ome.tiff", "tiles.h5", "regions.geojson.gz"):
        assert (tmp_path / name).is_file()


def test_exported_again_a_file_is_the_same(painted: Path, model: str, tmp_path: Path) -> None:
    wsi("heatmap", painted, "-o", tmp_path / "out", "-m", model, "--mask", "none")
    folder = tmp_path / "out" / "painted.tiff"
    for name in ("csv", "geojson", "overlay"):
        assert wsi("export", folder, "-f", name, "-o", tmp_path / "again").returncode == 0
    for name in ("tiles.csv", "tiles.geojson.gz", "overlay.png"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes(), name


def test_dry_run_writes_nothing(painted: Path, model: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = wsi("heatmap", painted, "-o", out, "-m", model, "--mask", "none", "--dry-run", "--json")
    assert json.loads(done.stdout)["tiles"] == 24
    assert not out.exists()


def test_slide_without_tissue_succeeds_and_says_so(model: str, tmp_path: Path) -> None:
    white = np.full((600, 600, 3), 255, np.uint8)
    slide = write_slide(tmp_path / "white.tiff", [white], 0.5)
    done = wsi("heatmap", slide, "-o", tmp_path / "out", "-m", model)
    assert done.returncode == 0, done.stderr
    assert "no tissue" in done.stdout
    manifest = json.loads((tmp_path / "out/white.tiff/manifest.json").read_text())
    assert (manifest["outcome"], manifest["tiles"]) == ("no-tissue", 0)


def test_tile_store_holds_the_painted_tiles(painted: Path, tmp_path: Path) -> None:
    from wsi.store import TileStore

    done = wsi(
        "tile", painted, "-o", tmp_path, "--tile-px", 16, "--tile-mpp", 0.5, "--mask", "none"
    )
    assert done.returncode == 0, done.stderr
    store = TileStore.open(tmp_path / "painted.tiff.tiles.zarr")
    assert len(store) == 24
    assert store.read(0, 24)[:, 8, 8, 0].tolist() == list(range(0, 240, 10))


def test_equal_tiles_are_kept_and_different_ones_need_overwriting(
    painted: Path, tmp_path: Path
) -> None:
    store = tmp_path / "out" / "painted.tiff.tiles.zarr"
    command = ("tile", painted, "-o", store.parent, "--mask", "none", "--tile-mpp", 0.5, "--json")
    first = json.loads(wsi(*command, "--tile-px", 16).stdout)
    made = store.stat().st_ino
    again = json.loads(wsi(*command, "--tile-px", 16).stdout)
    assert (first["kept"], again["kept"], store.stat().st_ino) == (False, True, made)
    other = wsi(*command, "--tile-px", 32)
    assert (other.returncode, "already there" in other.stderr) == (1, True)
    assert json.loads(wsi(*command, "--tile-px", 32, "--overwrite").stdout)["tiles"] == 6
    assert not json.loads(wsi(*command, "--tile-px", 16, "--overwrite").stdout)["kept"]


def test_damaged_tiles_are_not_kept(painted: Path, tmp_path: Path) -> None:
    command = ("tile", painted, "-o", tmp_path, "--mask", "none", "--tile-mpp", 0.5)
    assert wsi(*command).returncode == 0
    store = tmp_path / "painted.tiff.tiles.zarr"
    shard = next(path for path in (store / "rgb").rglob("*") if path.name != "zarr.json")
    shard = next(path for path in [shard, *shard.rglob("*")] if path.is_file())
    shard.write_bytes(shard.read_bytes()[:-1])
    assert wsi(*command).returncode == 1
    assert wsi(*command, "--overwrite").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("info", "nowhere.svs"), "nowhere.svs"),
        (("info", "https://[bad/x.svs"), "the address is malformed"),
        (("heatmap", "https://user:se#cret@host/x.svs"), "https://…/: the address is malformed"),
        (("explain", "https://host:abc/x.svs", "--at", "1,1"), "the address is malformed"),
        (("mask", "https://host:abc/x.svs"), "the address is malformed"),
        (("heatmap", "{slide}", "-m", "{model}", "--mask-frame", "level1"), "mask frame 'level1'"),
        (("heatmap", "{slide}", "-m", "{model}", "--mpp", "25"), "level 0 has 25 um/px"),
        (("heatmap", "{slide}", "-m", "no-such-model"), "no-such-model"),
        (("heatmap", "{slide}", "-m", "{model}", "--stride-px", "0"), "stride 0 px"),
        (("heatmap", "{slide}", "-m", "{model}", "--mask", "no-such-mask"), "no-such-mask"),
        (("heatmap", "{slide}", "-m", "{model}", "-f", "docx"), "docx"),
        (("heatmap", "{slide}", "-m", "{model}", "--window", "square"), "square"),
        (("heatmap", "{slide}", "-m", "{model}", "-f", "docx", "--dry-run"), "docx"),
        (("heatmap", "{slide}", "-m", "{model}", "--mpp", "400"), "400"),
        (("tile", "{slide}", "--tile-px", "8"), "tile size 8 px"),
        (("tile", "{slide}", "--tile-px", "64", "--tile-mpp", "0.1"), "0.1"),
        (("export", "nowhere", "-f", "csv"), "nowhere"),
        (("batch", "nowhere"), "nowhere"),
        (("train", "no-recipe", "--data", "nowhere"), "no-recipe"),
        (("evaluate", "--data", "nowhere"), "nowhere"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_1(
    painted: Path, model: str, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    filled = [a.format(slide=painted, model=model) for a in arguments]
    done = wsi(*filled, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.rglob("*.partial"))


def test_json_is_all_that_stdout_gets(painted: Path, model: str, tmp_path: Path) -> None:
    small = ("--mask", "none", "-o", tmp_path)
    tiles = ("--tile-px", 16, "--tile-mpp", 0.5)
    scored = ("-m", model, *small)
    result = tmp_path / "made" / "painted.tiff"
    wsi("heatmap", painted, "-m", model, "--mask", "none", "-o", result.parent)
    for command in (
        ("info", painted),
        ("mask", painted, *small),
        ("tile", painted, *tiles, *small),
        ("tile", painted, *tiles, *small, "--dry-run"),
        ("heatmap", painted, *scored, "--dry-run"),
        ("export", result),
        ("models", "list"),
        ("models", "show", model),
        ("batch", painted.parent, *scored, "--dry-run"),
    ):
        done = wsi(*command, "--json")
        assert done.returncode == 0, (command, done.stderr)
        assert done.stderr == "", command
        json.loads(done.stdout)


def test_dry_run_of_a_batch_sums_up_and_names_what_would_fail(
    painted: Path, model: str, tmp_path: Path
) -> None:
    (painted.parent / "broken.svs").write_text("this is no slide")
    out = tmp_path / "out"
    command = ("batch", painted.parent, "-o", out, "-m", model, "--mask", "none", "--dry-run")
    facts = json.loads(wsi(*command, "--json").stdout)
    broken, sound = facts["slides"]
    assert "broken.svs" in broken["reason"]
    assert (sound["tiles"], facts["tiles"], facts["failing"]) == (24, 24, 1)
    assert "24 tiles of 2 slides" in wsi(*command).stdout
    assert not out.exists()


def test_result_never_takes_the_place_of_the_slide(painted: Path, model: str) -> None:
    before = painted.read_bytes()
    done = wsi(
        "heatmap", painted, "-o", painted.parent, "-m", model, "--mask", "none", "--overwrite"
    )
    assert done.returncode == 1
    assert "no result of this program" in done.stderr
    assert painted.read_bytes() == before
    assert not list(painted.parent.glob("*.partial"))


def test_folder_of_somebody_elses_files_is_not_replaced(
    painted: Path, model: str, tmp_path: Path
) -> None:
    notes = tmp_path / "out" / "painted.tiff" / "notes.txt"
    notes.parent.mkdir(parents=True)
    notes.write_text("mine")
    done = wsi(
        "heatmap", painted, "-o", tmp_path / "out", "-m", model, "--mask", "none", "--overwrite"
    )
    assert done.returncode == 1
    assert notes.read_text() == "mine"


def test_manifest_is_the_same_in_every_run_and_names_no_place(
    painted: Path, model: str, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        wsi("heatmap", painted, "-o", tmp_path / name, "-m", model, "--mask", "none")
    one, two = (tmp_path / name / "painted.tiff" / "manifest.json" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    assert str(tmp_path) not in one.read_text()
    run = json.loads((one.parent / "run.json").read_text())
    assert run["request"]["slide"] == str(painted)
    assert run["host"]["cores"] >= 1


def test_file_that_cannot_be_written_is_one_sentence(
    painted: Path, model: str, tmp_path: Path
) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))  # as a full disk would
    try:
        done = wsi("heatmap", painted, "-o", tmp_path / "out", "-m", model, "--mask", "none")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert "painted.tiff.partial" in done.stderr  # where there is no room
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["painted.tiff.partial"]
    again = wsi("heatmap", painted, "-o", tmp_path / "out", "-m", model, "--mask", "none")
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.ENOTDIR])
def test_error_of_the_system_says_the_way_out(number: int) -> None:
    sentence = sentence_from_oserror(OSError(number, "what the system says", "x.png"))
    assert sentence.startswith("x.png: ")
    assert any(way in sentence for way in ("make room", "use another --out"))
