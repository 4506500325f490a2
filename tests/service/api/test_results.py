"""Results over HTTP: the record, the files, what a client has already."""

import gzip
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import tifffile

from service.pictures.tiles import HeatmapTiles
from tests.service.api.harness import Api, Workshop
from wsi.view import HeatmapView

PLAIN = {"Accept-Encoding": "identity"}


@pytest.fixture(scope="module")
def api(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One for all tests here: they only read, or make a result of their own."""
    with Api(workshop, tmp_path_factory.mktemp("results") / "data") as api:
        yield api


@pytest.fixture(scope="module")
def base(api: Api) -> str:
    """The address of a finished result."""
    return str(api.finished()["links"]["result"])


def test_record_names_model_grid_statistics_and_files(
    api: Api, base: str, workshop: Workshop
) -> None:
    record = api.get(base).json()
    assert record["model"]["card_sha256"] == workshop.card.sha256
    assert (record["classes"], record["positive_class"]) == (["rest", "painted"], "painted")
    assert record["slide"] == {"size0": [96, 64], "mpp": [0.5, 0.5], "bounds0": None}
    assert (record["grid"]["tile_px"], record["outcome"]) == (16, "heatmap")
    assert record["statistics"]["histogram"]["bins"] == 200
    assert len(record["statistics"]["histogram"]["tissue_mm2"]) == 200


def test_channels_are_listed_shown_and_told_beside_the_classes(api: Api, base: str) -> None:
    assert api.get(base).json()["channels"] == ["uncertainty"]
    assert api.get(f"{base}/heatmap.png?class=uncertainty").status_code == 200
    refused = api.get(f"{base}/heatmap.png?class=doubt")
    assert refused.status_code == 400
    assert "use one of rest, painted, uncertainty" in refused.json()["detail"]
    point = api.get(f"{base}/point?x0=20&y0=20").json()
    assert point["channels"] == {"uncertainty": pytest.approx(0, abs=1e-6)}


def test_each_file_has_the_bytes_that_the_record_names(api: Api, base: str) -> None:
    files = [each for each in api.get(base).json()["artefacts"] if each["name"] != "heatmap.zarr"]
    assert {each["name"] for each in files} >= {"heatmap.tif", "tiles.csv", "heatmap.geojson.gz"}
    for each in files:
        answer = api.get(each["href"])
        assert hashlib.sha256(answer.content).hexdigest() == each["sha256"], each["name"]
        assert len(answer.content) == each["size_bytes"]
        assert answer.headers["content-type"] == each["media_type"]


def test_finished_files_may_be_kept_for_ever(api: Api, base: str) -> None:
    headers = api.get(f"{base}/heatmap.tif").headers
    assert headers["cache-control"] == "private, max-age=31536000, immutable"
    assert headers["accept-ranges"] == "bytes"


def test_head_has_the_headers_of_get(api: Api, base: str) -> None:
    for path in ("/heatmap.tif", "/tiles.csv", "/heatmap.zarr/zarr.json", ""):
        got, head = api.get(base + path), api.head(base + path)
        assert head.content == b""
        for name in ("content-length", "content-type", "etag", "cache-control"):
            assert head.headers[name] == got.headers[name]


def test_client_that_has_the_file_is_told_so(api: Api, base: str) -> None:
    for path in ("/heatmap.tif", "/heatmap.geojson", "/heatmap.geojson.gz?threshold=0.25", ""):
        etag = api.get(base + path, headers=PLAIN).headers["etag"]
        for field in (etag, f'"other", W/{etag}', "*"):
            answer = api.get(base + path, headers={**PLAIN, "If-None-Match": field})
            assert (answer.status_code, answer.content) == (304, b"")
            assert answer.headers["etag"] == etag
        assert api.get(base + path, headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    ("field", "part"),
    [
        ("bytes=0-9", slice(0, 10)),
        ("bytes=10-", slice(10, None)),
        ("bytes=-7", slice(-7, None)),
        ("bytes=5-999999", slice(5, None)),
        ("bytes=-999999", slice(None)),
        ("BYTES = 3 - 4", slice(3, 5)),
    ],
)
def test_part_of_a_file_is_sent(
    api: Api, base: str, workshop: Workshop, field: str, part: slice
) -> None:
    content = (workshop.result / "heatmap.ome.tiff").read_bytes()
    answer = api.get(f"{base}/heatmap.tif", headers={"Range": field})
    start, stop, _ = part.indices(len(content))
    assert (answer.status_code, answer.content) == (206, content[part])
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(content)}"
    assert answer.headers["content-length"] == str(stop - start)


@pytest.mark.parametrize("field", ["bytes=9-5", "bytes=-", "lines=0-1", "bytes=0-1,3-4", "bytes"])
def test_range_without_sense_or_with_several_parts_gets_the_whole(
    api: Api, base: str, workshop: Workshop, field: str
) -> None:
    answer = api.get(f"{base}/heatmap.tif", headers={"Range": field})
    assert answer.status_code == 200
    assert answer.content == (workshop.result / "heatmap.ome.tiff").read_bytes()


@pytest.mark.parametrize("field", ["bytes=999999-", "bytes=999999-1000000", "bytes=-0"])
def test_range_behind_the_end_is_not_satisfiable(
    api: Api, base: str, workshop: Workshop, field: str
) -> None:
    size = (workshop.result / "heatmap.ome.tiff").stat().st_size
    answer = api.get(f"{base}/heatmap.tif", headers={"Range": field})
    assert (answer.status_code, answer.json()["type"]) == (416, "/problems/range-not-satisfiable")
    assert answer.headers["content-range"] == f"bytes */{size}"


def test_part_is_sent_only_of_the_file_that_the_client_knows(api: Api, base: str) -> None:
    etag = api.get(f"{base}/heatmap.tif").headers["etag"]
    for condition, status in ((etag, 206), ('"other"', 200), (f"W/{etag}", 200)):
        headers = {"Range": "bytes=0-9", "If-Range": condition}
        assert api.get(f"{base}/heatmap.tif", headers=headers).status_code == status


def test_geojson_is_compressed_for_who_takes_that(api: Api, base: str, workshop: Workshop) -> None:
    stored = (workshop.result / "regions.geojson.gz").read_bytes()
    url = f"{base}/heatmap.geojson?kind=regions"
    packed = api.get(url, headers={"Accept-Encoding": "gzip"})
    plain = api.get(url, headers=PLAIN)
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.content == plain.content == gzip.decompress(stored)
    assert packed.headers["etag"] != plain.headers["etag"]
    assert plain.headers["vary"] == "Accept-Encoding"
    assert api.get(f"{base}/heatmap.geojson.gz?kind=regions").content == stored


def test_geojson_at_another_threshold_counts_the_cells_anew(
    api: Api, base: str, workshop: Workshop
) -> None:
    threshold = 0.25
    above = int((workshop.values / 255 >= threshold).sum())
    url = f"{base}/heatmap.geojson"
    regions = api.get(f"{url}?kind=regions&threshold={threshold}").json()["features"]
    cells = sum(each["properties"]["measurements"]["cells"] for each in regions)
    assert cells == above
    tiles = api.get(f"{url}?kind=tiles&threshold={threshold}").json()["features"]
    names = [each["properties"]["classification"]["name"] for each in tiles]
    assert names.count("painted") == above
    packed = api.get(f"{base}/heatmap.geojson.gz?kind=regions&threshold={threshold}").content
    assert json.loads(gzip.decompress(packed))["features"] == regions


def test_geojson_at_the_models_threshold_is_the_stored_one(
    api: Api, base: str, workshop: Workshop
) -> None:
    own = workshop.card.threshold
    answer = api.get(f"{base}/heatmap.geojson.gz?threshold={own}")
    assert answer.content == (workshop.result / "tiles.geojson.gz").read_bytes()


@pytest.mark.parametrize("query", ["kind=cells", "threshold=2", "threshold=nan"])
def test_geojson_of_a_wrong_kind_is_refused(api: Api, base: str, query: str) -> None:
    answer = api.get(f"{base}/heatmap.geojson?{query}")
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/invalid-request")


def test_zarr_is_readable_file_by_file(api: Api, base: str, workshop: Workshop) -> None:
    folder = workshop.result / "heatmap.zarr"
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        key = path.relative_to(folder).as_posix()
        answer = api.get(f"{base}/heatmap.zarr/{key}")
        assert answer.content == path.read_bytes()
        last = api.get(f"{base}/heatmap.zarr/{key}", headers={"Range": "bytes=-4"})
        assert (last.status_code, last.content) == (206, path.read_bytes()[-4:])


def test_sha256_of_the_zarr_is_that_of_its_files(api: Api, base: str, workshop: Workshop) -> None:
    """As `sha256sum` on the sorted names would have it."""
    folder = workshop.result / "heatmap.zarr"
    lines = sorted(
        (path.relative_to(folder).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest())
        for path in folder.rglob("*")
        if path.is_file()
    )
    text = "".join(f"{sha256}  {name}\n" for name, sha256 in lines)
    record = next(a for a in api.get(base).json()["artefacts"] if a["name"] == "heatmap.zarr")
    assert record["sha256"] == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    "key",
    [
        "0/c/9/9/9",
        ".zattrs",
        "",
        "../manifest.json",
        "..%2fmanifest.json",
        "0/../../manifest.json",
        "%2fetc/passwd",
        "/etc/passwd",
        "0%00/zarr.json",
        "labels",
    ],
)
def test_key_that_is_no_file_of_the_zarr_is_not_found(api: Api, base: str, key: str) -> None:
    url = httpx.URL("http://wsi.test", raw_path=f"{base}/heatmap.zarr/{key}".encode())
    assert api.get(url).status_code == 404


def test_tiff_holds_the_painted_values(
    api: Api, base: str, workshop: Workshop, tmp_path: Path
) -> None:
    path = tmp_path / "heatmap.tif"
    path.write_bytes(api.get(f"{base}/heatmap.tif").content)
    found = tifffile.imread(path, level=0)
    np.testing.assert_allclose(found[1], workshop.values / 255, atol=0.51 / 255)


def test_report_is_kept_apart_from_this_site(api: Api, base: str) -> None:
    headers = api.get(f"{base}/report.html").headers
    assert headers["content-disposition"] == "attachment"
    assert "sandbox" in headers["content-security-policy"]


def test_output_that_nobody_asked_for_is_not_found(api: Api) -> None:
    base = api.finished(seed=1)["links"]["result"]
    folder = api.data / base.removeprefix("/v1/")
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["outputs"]["tiles.h5"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert api.get(f"{base}/tiles.h5").status_code == 404


def test_file_that_goes_while_it_is_asked_for_is_gone_and_no_crash(api: Api) -> None:
    base = api.finished(seed=3)["links"]["result"]
    (api.data / base.removeprefix("/v1/") / "heatmap.ome.tiff").unlink()
    answer = api.get(f"{base}/heatmap.tif")
    assert (answer.status_code, answer.json()["type"]) == (410, "/problems/result-expired")


def test_heatmap_that_another_process_deletes_is_gone_and_not_empty(api: Api) -> None:
    base = api.finished(seed=4)["links"]["result"]
    assert api.get(f"{base}/heatmap.png").status_code == 200
    folder = api.data / base.removeprefix("/v1/")
    (folder / "heatmap.zarr").rename(folder / "elsewhere")

    for view in ("heatmap.png?class=rest", "tiles/0/0/0.png?class=rest", "point?x0=20&y0=20"):
        answer = api.get(f"{base}/{view}")
        assert (answer.status_code, answer.json()["type"]) == (410, "/problems/result-expired")
        detail = "the heatmap was deleted just now; make the result again"
        assert answer.json()["detail"] == detail
        assert "max-age" not in answer.headers.get("cache-control", "")


def test_result_that_is_deleted_as_it_is_opened_is_gone(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = api.finished(seed=5)["links"]["result"]
    view = HeatmapTiles.view

    def view_too_late(tiles: HeatmapTiles, heatmap: Path) -> HeatmapView:
        api.service.shelf.delete("local", base.rpartition("/")[2])
        return view(tiles, heatmap)

    monkeypatch.setattr(HeatmapTiles, "view", view_too_late)
    answer = api.get(f"{base}/heatmap.png")
    assert (answer.status_code, answer.json()["type"]) == (410, "/problems/result-expired")


def test_deleted_result_is_gone_and_not_missing(api: Api) -> None:
    base = api.finished(seed=2)["links"]["result"]
    assert api.delete(base).status_code == 204
    for answer in (api.get(base), api.get(f"{base}/heatmap.tif"), api.delete(base)):
        assert (answer.status_code, answer.json()["type"]) == (410, "/problems/result-expired")
