"""What a result holds, read by other people's libraries: python examples/04_read_a_result.py RESULT

zarr opens the heatmap, pandas would open tiles.csv, gzip and json the GeoJSON.
"""

import csv
import gzip
import json
import sys
from pathlib import Path

import numpy as np
import zarr


def main(result: str) -> None:
    folder = Path(result)
    group = zarr.open_group(folder / "heatmap.zarr", mode="r")
    image = group.attrs["ome"]["multiscales"][0]
    heatmap = group[image["datasets"][0]["path"]][:]
    scale, shift = image["datasets"][0]["coordinateTransformations"]
    channel, row, column = np.unravel_index(np.nanargmax(heatmap), heatmap.shape)
    at_um = np.array(shift["translation"]) + (0, row, column) * np.array(scale["scale"])
    print(f"heatmap {heatmap.shape}, highest {np.nanmax(heatmap):.3f} in channel {channel}")
    print(f"  {at_um[2]:.0f} um from the left, {at_um[1]:.0f} um from the top")
    with (folder / "tiles.csv").open() as file:
        print(f"{sum(1 for _ in csv.DictReader(file))} tiles in tiles.csv")
    with gzip.open(folder / "tiles.geojson.gz", "rt") as file:
        print(f"{len(json.load(file)['features'])} features for QuPath")


if __name__ == "__main__":
    main(*sys.argv[1:])
