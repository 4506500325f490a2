"""OME-XML in a TIFF's description: how many channels and planes there are, how large a pixel is."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wsi.errors import CorruptSlide

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

__all__ = ["OmePixels", "read_ome"]

UM_FROM_UNIT = {"m": 1e6, "cm": 1e4, "mm": 1e3, "µm": 1.0, "μm": 1.0, "um": 1.0} | {
    "micron": 1.0,
    "nm": 1e-3,
    "inch": 25400.0,
    "in": 25400.0,
}
"""OME lets a writer use either mu; the default of PhysicalSizeXUnit is um."""


@dataclass(frozen=True)
class OmePixels:
    """The largest image of the file."""

    channels: int  # RGB is one channel of three samples
    planes: int  # depths times moments
    pixel_um: tuple[float, float] | None


def read_ome(description: str, name: str) -> OmePixels | None:
    """None where the description is no OME-XML. CorruptSlide where it is a trap for XML parsers."""
    if "<OME" not in description[:4096]:
        return None
    from defusedxml import DefusedXmlException, ElementTree

    try:
        root: Element = ElementTree.fromstring(description.encode())
    except DefusedXmlException as error:
        raise CorruptSlide(
            f"{name}: its OME-XML declares entities, which no slide needs"
        ) from error
    except ElementTree.ParseError:
        return None
    found = [_pixels_from(element) for element in root.iter() if _local(element) == "Pixels"]
    return max(found, key=lambda pair: pair[0])[1] if found else None


def _pixels_from(element: "Element") -> tuple[int, OmePixels]:
    """Pixels in the image, and what it says."""
    samples = max(
        (_whole(c, "SamplesPerPixel") for c in element if _local(c) == "Channel"), default=1
    )
    pixels = OmePixels(
        channels=max(1, _whole(element, "SizeC") // samples),
        planes=_whole(element, "SizeZ") * _whole(element, "SizeT"),
        pixel_um=_pixel_um(element),
    )
    return _whole(element, "SizeX") * _whole(element, "SizeY"), pixels


def _pixel_um(element: "Element") -> tuple[float, float] | None:
    try:
        x, y = (
            float(element.attrib[f"PhysicalSize{axis}"])
            * UM_FROM_UNIT[element.get(f"PhysicalSize{axis}Unit", "µm")]
            for axis in "XY"
        )
    except (KeyError, ValueError):
        return None
    return x, y


def _whole(element: "Element", name: str) -> int:
    """A count; 1 where it is missing or no number."""
    text = element.get(name, "1")
    return max(1, int(text)) if text.isdecimal() and len(text) < 12 else 1


def _local(element: "Element") -> str:
    return element.tag.rpartition("}")[2]
