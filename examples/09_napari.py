"""The heatmap in napari, over HTTP: python examples/09_napari.py URL/v1/results/res_… [KEY]"""

import sys
from typing import Any

import dask.array as da
import zarr


def read_layers(url: str, key: str | None = None) -> tuple[list[da.Array], dict[str, Any]]:
    """The levels, (class, y, x), fetched as they are looked at; how to show them, in um."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    over_http = {"client_kwargs": {"headers": headers}}
    group = zarr.open_group(f"{url}/heatmap.zarr", mode="r", storage_options=over_http)
    image, channels = group.attrs["ome"]["multiscales"][0], group.attrs["ome"]["omero"]["channels"]
    scale, shift = image["datasets"][0]["coordinateTransformations"]
    levels = [da.from_array(group[each["path"]]) for each in image["datasets"]]
    return levels, {
        "channel_axis": 0,
        "name": [channel["label"] for channel in channels],
        "scale": scale["scale"][1:],
        "translate": shift["translation"][1:],  # a slide lies under it with scale and mpp / 2
        "contrast_limits": [0, 1],
        "colormap": "inferno",
    }


def main(url: str, key: str | None = None) -> None:
    levels, options = read_layers(url, key)
    print(f"{options['name']}: {levels[0].shape[1:]} cells, up to {da.nanmax(levels[0]).compute()}")
    try:
        import napari
    except ImportError:
        return print("napari shows it: pip install 'napari[all]'")
    napari.Viewer().add_image(levels, **options)
    return napari.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
