"""Each example runs as its first line says; the page of 07 in tests/service/viewer."""

import csv
import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.service.painted import write_model
from tests.service.served import COMMAND, Served
from wsi.phantom import draw_phantom

REPOSITORY = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((REPOSITORY / "examples").glob("[0-9]*"))


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("phantom") / "phantom.tiff"
    draw_phantom(path, size_px=4000, mpp=0.5)
    return path


@dataclass
class Keyed:
    """A service that wants a key, and a key of it."""

    url: str
    key: str


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    folder = tmp_path_factory.mktemp("service")
    served = Served(folder, AUTH="keys", MODEL=write_model(folder / "fields", 50, 4.0))
    command = [*COMMAND, "keys", "create", "--tenant", "lab", "--data", str(folder / "data")]
    try:
        key = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        yield Keyed(served.url, key)
    finally:
        served.close()


def run(example: str, *arguments: object, cwd: Path | None = None) -> str:
    program = "sh" if example.endswith(".sh") else sys.executable
    done = subprocess.run(
        [program, REPOSITORY / "examples" / example, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_examples_are_numbered_and_short() -> None:
    assert [path.name[:3] for path in EXAMPLES] == [f"{i:02}_" for i in range(1, 10)]
    lengths = {path.name: len(path.read_text().splitlines()) for path in EXAMPLES}
    assert {name: lines for name, lines in lengths.items() if lines > 40} == {}


def test_slide_to_heatmap_and_reading_it(phantom: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", 50, 4.0)
    shown = run("01_slide_to_heatmap.py", phantom, model, tmp_path)
    assert "mm2 of tissue" in shown
    assert (tmp_path / "phantom.tiff" / "overlay.png").is_file()
    tiles = int(shown.split()[0])
    read = run("04_read_a_result.py", tmp_path / "phantom.tiff")
    assert f"{tiles} tiles in tiles.csv" in read
    assert f"{tiles} features for QuPath" in read


def test_own_classifier_finds_purple(phantom: Path, tmp_path: Path) -> None:
    shown = run("02_own_classifier.py", phantom, tmp_path / "purple.zarr")
    assert "tiles, purple from" in shown
    assert (tmp_path / "purple.zarr" / "zarr.json").is_file()


def test_idc_patient_becomes_a_slide_that_the_readers_open(real_data: Path, tmp_path: Path) -> None:
    from wsi import open_slide

    shown = run("03_idc_mosaic_to_slide.py", real_data / "idc", "8957", tmp_path / "8957.tiff")
    assert "from 111 tiles" in shown
    with open_slide(tmp_path / "8957.tiff") as slide:
        assert slide.info.mpp == pytest.approx((4.0, 4.0))
        assert f"{slide.info.size.width}x{slide.info.size.height} px" in shown


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_curl_walks_through_the_service(phantom: Path, service: Keyed, tmp_path: Path) -> None:
    shown = run("05_curl.sh", phantom, service.url, service.key, cwd=tmp_path)
    assert "200 image/png" in shown
    assert "the same picture" in shown
    events = [line for line in shown.splitlines() if line.startswith(("event", "data"))]
    assert events[-2:-1] == ["event: state"]
    assert '"state":"succeeded"' in events[-1]
    assert (tmp_path / "heatmap.png").read_bytes().startswith(b"\x89PNG")
    regions = json.loads((tmp_path / "regions.geojson").read_text())
    assert regions["type"] == "FeatureCollection"
    assert json.loads((tmp_path / "result.json").read_text())["parameters"]["stride_px"] == 12


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_curl_ends_where_the_service_refuses(phantom: Path, service: Keyed, tmp_path: Path) -> None:
    command = ["sh", REPOSITORY / "examples" / "05_curl.sh", phantom, service.url, "wsi_wrong"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode != 0
    assert "2. without waiting" not in done.stdout


def test_python_client_fetches_the_files(phantom: Path, service: Keyed, tmp_path: Path) -> None:
    shown = run("06_client.py", phantom, service.url, service.key, cwd=tmp_path)
    assert "succeeded" in shown
    assert "mm2" in shown
    with gzip.open(tmp_path / "regions.geojson.gz") as file:
        kinds = {each["properties"]["objectType"] for each in json.load(file)["features"]}
    assert kinds == {"annotation"}
    assert {path.name for path in tmp_path.iterdir()} == {
        "heatmap.ome.tiff", "regions.geojson.gz", "tiles.csv", "heatmap.png",
    }  # fmt: skip


def test_napari_would_read_the_values_over_http(
    phantom: Path, service: Keyed, tmp_path: Path
) -> None:
    shown = run("06_client.py", phantom, service.url, service.key, cwd=tmp_path)
    result = shown.split("/viewer?result=")[1].strip()
    shown = run("09_napari.py", f"{service.url}/v1/results/{result}", service.key)
    with (tmp_path / "tiles.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name.startswith("prob_")]
    highest = max(float(row[name]) for row in rows for name in names)
    assert f"{[name.removeprefix('prob_') for name in names]}: (10, 10) cells" in shown
    assert float(shown.split("up to ")[1].split()[0]) == pytest.approx(highest, abs=1e-6)
