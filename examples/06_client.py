"""The service from Python: python examples/06_client.py SLIDE [URL] [KEY]

Uploads, waits, fetches: connections may drop and the service may restart meanwhile.
"""

import sys
from pathlib import Path

from service.client import ApiError, Client
from service.schemas import JobJson

FILES = {
    "heatmap.tif": "heatmap.ome.tiff",
    "heatmap.geojson.gz?kind=regions": "regions.geojson.gz",
    "tiles.csv": "tiles.csv",
}


def show(job: JobJson) -> None:
    print(f"{job.state} {job.stage or ''} {job.done} of {job.total}")


def main(slide: str, url: str = "http://127.0.0.1:8000", key: str | None = None) -> None:
    with Client(url, key) as client:
        try:
            result = client.heatmap(Path(slide), on_progress=show)
        except ApiError as error:
            sys.exit(f"{error} ({error.slug})")  # for example no-mpp: pass mpp=0.25
        for name, file in FILES.items():
            print(client.download(result, name, Path(file)))
        Path("heatmap.png").write_bytes(client.picture(result, cmap="inferno"))
    statistics = result.statistics
    print(f"{statistics['positive_tissue_mm2']:.2f} of {statistics['scored_tissue_mm2']:.2f} mm2")
    print(f"at or above {statistics['threshold']:g}: {url}/viewer?result={result.id}")


if __name__ == "__main__":
    main(*sys.argv[1:])
