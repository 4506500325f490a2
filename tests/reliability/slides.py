"""Small honest slides of several formats, and how they are damaged."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

__all__ = ["SLIDES", "mutate", "write_dicom"]

EXTREMES = (
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\x80",
)
HEADER_BYTES = 2048
WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"


def make_picture(width: int, height: int) -> NDArray[np.uint8]:
    """Smooth colours, so that JPEG has something to do."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x % 256, y % 256, (x + y) // 2 % 256], axis=-1).astype(np.uint8)


def write_tiff(path: Path, compression: str) -> None:
    """A pyramid of three levels with tiles of 128 px."""
    with tifffile.TiffWriter(path) as file:
        for factor in (1, 2, 4):
            file.write(
                make_picture(768 // factor, 640 // factor),
                tile=(128, 128),
                photometric="rgb",
                compression=compression,
                subfiletype=1 if factor > 1 else 0,
                resolution=(20000 / factor, 20000 / factor),
                resolutionunit="centimeter",
                metadata=None,
            )


def write_svs(path: Path) -> None:
    """As Aperio's scanners write it: JPEG 2000, a thumbnail, what is known in the description."""
    aperio = "Aperio Image Library v11.2.1\r\n768x640 (128x128) J2K|AppMag = 20|MPP = 0.4990"
    with tifffile.TiffWriter(path) as file:
        for side, options in ((768, {"tile": (128, 128)}), (192, {}), (384, {"tile": (128, 128)})):
            file.write(
                make_picture(side, side * 5 // 6),
                photometric="rgb",
                compression=33005 if options else "jpeg",
                description=aperio,
                metadata=None,
                **options,
            )


def write_strips(path: Path) -> None:
    tifffile.imwrite(
        path, make_picture(500, 400), photometric="rgb", compression="lzw", rowsperstrip=16
    )


def write_ome_tiff(path: Path) -> None:
    """Levels as SubIFDs, and an XML description."""
    with tifffile.TiffWriter(path, ome=True) as file:
        for factor in (1, 2):
            metadata = {"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
            file.write(
                make_picture(768 // factor, 640 // factor),
                subifds=1 if factor == 1 else None,
                subfiletype=1 if factor > 1 else 0,
                tile=(128, 128),
                photometric="rgb",
                compression="jpeg",
                metadata=metadata if factor == 1 else None,
            )


def write_dicom(path: Path, width: int = 500, height: int = 300, tile: int = 128) -> None:
    """A whole-slide image of one level: JPEG frames, TILED_FULL, 0.5 um/px."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate

    across, down = -(-width // tile), -(-height // tile)
    padded = np.zeros((down * tile, across * tile, 3), np.uint8)
    padded[:height, :width] = make_picture(width, height)
    frames = [
        encode_jpeg(padded[y : y + tile, x : x + tile])
        for y in range(0, down * tile, tile)
        for x in range(0, across * tile, tile)
    ]
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = JPEG_BASELINE
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = WHOLE_SLIDE
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3.1"
    data.SeriesInstanceUID, data.StudyInstanceUID = "1.2.3.2", "1.2.3.3"
    data.Modality, data.ImageType = "SM", ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    data.TotalPixelMatrixColumns, data.TotalPixelMatrixRows = width, height
    data.Columns = data.Rows = tile
    data.NumberOfFrames, data.DimensionOrganizationType = len(frames), "TILED_FULL"
    data.SamplesPerPixel, data.PlanarConfiguration = 3, 0
    data.PhotometricInterpretation = "YBR_FULL_422"
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    measures, shared = Dataset(), Dataset()
    measures.PixelSpacing = [0.0005, 0.0005]
    shared.PixelMeasuresSequence = [measures]
    data.SharedFunctionalGroupsSequence = [shared]
    data.PixelData = encapsulate(frames)
    data.save_as(path, enforce_file_format=True)


def encode_jpeg(pixels: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=80)
    return stream.getvalue()


SLIDES: dict[str, Callable[[Path], None]] = {
    "jpeg.tiff": lambda path: write_tiff(path, "jpeg"),
    "deflate.tiff": lambda path: write_tiff(path, "zlib"),
    "jpeg2000.svs": write_svs,
    "strips.tiff": write_strips,
    "pyramid.ome.tiff": write_ome_tiff,
    "slide.dcm": write_dicom,
}


def mutate(data: bytes, random: np.random.Generator) -> bytes:
    """One to four changes: bytes, extreme numbers, parts moved or cut off. Half of them in the
    first or last 2 KiB, where the directories are."""
    changed = bytearray(data)
    for _ in range(int(random.integers(1, 5))):
        at = place(len(changed), random)
        kind = random.integers(0, 10)
        if kind < 5:
            changed[at] = random.integers(0, 256)
        elif kind < 8:
            extreme = EXTREMES[random.integers(0, len(EXTREMES))]
            changed[at : at + 4] = extreme[: len(changed) - at]
        elif kind < 9:
            source = place(len(changed), random)
            size_bytes = int(random.integers(1, 64))
            changed[at : at + size_bytes] = changed[source : source + size_bytes]
        elif random.integers(0, 4) == 0:
            del changed[max(at, 64) :]
    return bytes(changed)


def place(size_bytes: int, random: np.random.Generator) -> int:
    near = min(HEADER_BYTES, size_bytes)
    where = random.integers(0, 4)
    if where == 0:
        return int(random.integers(0, near))
    if where == 1:
        return int(size_bytes - 1 - random.integers(0, near))
    return int(random.integers(0, size_bytes))
