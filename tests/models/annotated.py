"""Stand-ins for BACH's whole slides: a lossless pyramid of noise, and regions at known places."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wsi.geometry import Mpp, Size
from wsi.pyramid_tiff import write_pyramid

Outline = Sequence[tuple[float, float]]

GLASS = 245


def rectangle(x0: float, y0: float, width: float, height: float) -> Outline:
    return [(x0, y0), (x0 + width, y0), (x0 + width, y0 + height), (x0, y0 + height)]


def make_tissue(
    width: int, height: int, seed: int = 0, glass_from: int | None = None
) -> np.ndarray:
    """Pink noise, uint8 (height, width, 3); from column `glass_from` on it is glass."""
    rng = np.random.default_rng(seed)
    rgb = (np.array([200, 90, 160]) + rng.integers(-40, 41, (height, width, 3))).astype(np.uint8)
    if glass_from is not None:
        rgb[:, glass_from:] = GLASS
    return rgb


def write_slide(path: Path, rgb: np.ndarray, mpp: float = 0.42) -> Path:
    height, width = rgb.shape[:2]
    write_pyramid(
        path,
        Size(width, height),
        lambda box: rgb[box.y : box.bottom, box.x : box.right],
        mpp=Mpp(mpp, mpp),
        quality=None,
        workers=1,
    )
    return path


def region_xml(
    outline: Outline,
    label: str = "Benign",
    *,
    number: int = 1,
    in_text: bool = False,
    negative: bool = False,
    kind: str = "0",
) -> str:
    """A region as the published files have it; in_text: the label where ImageScope's dialogue
    writes it."""
    value, text = ("", label) if in_text else (label, "")
    vertices = "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in outline)
    return (
        f'<Region Id="{number}" Type="{kind}" Text="{text}" NegativeROA="{int(negative)}">'
        f'<Attributes><Attribute Id="1" Name="Description" Value="{value}"/></Attributes>'
        f"<Vertices>{vertices}</Vertices></Region>"
    )


def layer_xml(regions: Sequence[str], mpp: float | None = 0.42, name: str = "") -> str:
    spacing = "" if mpp is None else f' MicronsPerPixel="{mpp:.6f}"'
    return (
        f'<Annotations{spacing}><Annotation Id="1" Name="{name}" Type="4">'
        '<Attributes><Attribute Name="Description" Id="0" Value=""/></Attributes>'
        f"<Regions><RegionAttributeHeaders/>{''.join(regions)}</Regions><Plots/>"
        "</Annotation></Annotations>"
    )


def write_drawn(path: Path, regions: Sequence[str], mpp: float | None = 0.42) -> Path:
    path.write_text(layer_xml(regions, mpp))
    return path
