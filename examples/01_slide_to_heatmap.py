"""A slide to a heatmap, in Python: python examples/01_slide_to_heatmap.py SLIDE [MODEL] [OUT]"""

import sys
from pathlib import Path

from service.pipeline import run_request
from service.request import HeatmapRequest


def main(slide: str, model: str = "idc-resnet18", out: str = "heatmaps") -> None:
    result = run_request(HeatmapRequest(slide=slide, model=model), Path(out))
    summary = result.manifest["summary"]
    print(f"{result.manifest['tiles']} tiles, {summary['scored_tissue_mm2']:.2f} mm2 of tissue,")
    print(f"{summary['positive_tissue_mm2']:.2f} mm2 at or above {summary['threshold']:g}")
    for region in summary["regions"]["largest"][:3]:
        x0, y0 = region["centroid0"]
        print(f"  {region['area_mm2']:.2f} mm2 around ({x0:.0f}, {y0:.0f})")
    print(f"look at {result.folder / 'overlay.png'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
