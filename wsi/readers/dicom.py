"""DICOM whole-slide series: which files belong together, and whether they can be read."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from wsi.errors import CorruptSlide, UnsupportedSlide
from wsi.geometry import Size
from wsi.readers.limits import check_block, check_slide_size

__all__ = ["Series", "find_series", "is_dicom"]

WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"  # VL Whole Slide Microscopy Image Storage
SYNTAXES = {
    "1.2.840.10008.1.2.1",  # explicit VR, little endian: not compressed
    "1.2.840.10008.1.2.4.50",  # JPEG baseline
    "1.2.840.10008.1.2.4.90",  # JPEG 2000, lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
}
"""Transfer syntaxes that OpenSlide 4 decodes."""

DEFLATED = "1.2.840.10008.1.2.1.99"

KEYWORDS = [
    "SOPClassUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "ImageType",
    "Rows",
    "Columns",
    "TotalPixelMatrixRows",
    "TotalPixelMatrixColumns",
    "SamplesPerPixel",
    "BitsAllocated",
    "PhotometricInterpretation",
    "TotalPixelMatrixFocalPlanes",
]
MAX_FOLDER_FILES = 20_000


@dataclass(frozen=True)
class Instance:
    """One file of a series. Sizes in pixels."""

    path: Path
    is_slide: bool
    series: str
    uid: str
    flavour: str  # VOLUME, THUMBNAIL, LABEL, OVERVIEW
    syntax: str
    syntax_name: str
    size: Size
    tile: Size
    samples: int
    bits: int
    focal_planes: int


@dataclass(frozen=True)
class Series:
    entry: Path  # a file of the pyramid
    files: tuple[Path, ...]


def is_dicom(head: bytes) -> bool:
    return head[128:132] == b"DICM"


def find_series(path: Path, name: str) -> Series:
    """The slide of a folder, or the slide that a file is part of, checked by its headers.

    OpenSlide takes all files of the same series in the file's folder, and so does this.
    Raises UnsupportedSlide, CorruptSlide, SlideTooLarge.
    """
    if path.is_dir():
        slides = [i for i in _read_instances(_candidates(path), name) if i.is_slide]
        chosen = _only_series(slides, name)
    else:
        chosen = _read_instance(path, name)
        if not chosen.is_slide:
            raise UnsupportedSlide(f"{name}: a DICOM file, but no whole-slide image; use one")
        slides = _read_instances(_candidates(path.parent), name)
    members = _members(chosen, slides)
    volumes = [i for i in members if i.flavour == "VOLUME"]
    if not volumes:
        raise UnsupportedSlide(
            f"{name}: its DICOM series has only a {chosen.flavour.lower()} image, no slide; add "
            "the series' VOLUME files to the folder"
        )
    for volume in volumes:
        _check_volume(volume, name)
    entry = chosen.path if chosen.flavour == "VOLUME" else volumes[0].path
    return Series(entry, tuple(sorted(i.path for i in members)))


def _members(chosen: Instance, slides: list[Instance]) -> list[Instance]:
    """All of the chosen one's series; a second copy of the same picture is no part of the slide."""
    by_uid = {i.uid: i for i in slides if i.series == chosen.series and i.is_slide}
    by_uid[chosen.uid] = chosen
    return list(by_uid.values())


def _only_series(slides: list[Instance], name: str) -> Instance:
    names = {i.series for i in slides}
    if not slides:
        raise UnsupportedSlide(
            f"{name}: a folder without a DICOM whole-slide image; give the slide's own file"
        )
    if len(names) > 1:
        raise UnsupportedSlide(
            f"{name}: a folder with {len(names)} DICOM slides; give one of a slide's files"
        )
    return slides[0]


def _candidates(folder: Path) -> list[Path]:
    files = sorted(p for p in folder.iterdir() if p.is_file())
    if len(files) > MAX_FOLDER_FILES:
        raise UnsupportedSlide(
            f"{folder}: {len(files)} files beside a DICOM slide (limit {MAX_FOLDER_FILES}); "
            "put the slide into a folder of its own"
        )
    return [p for p in files if _starts_as_dicom(p)]


def _starts_as_dicom(path: Path) -> bool:
    with path.open("rb") as stream:
        return is_dicom(stream.read(132))


def _read_instances(paths: Iterable[Path], name: str) -> list[Instance]:
    """Of a folder. A damaged neighbour is not the slide's fault."""
    found = []
    for path in paths:
        try:
            found.append(_read_instance(path, name))
        except (CorruptSlide, UnsupportedSlide):
            continue
    return found


def _read_instance(path: Path, name: str) -> Instance:
    from pydicom import dcmread

    _refuse_deflated(path, name)
    try:
        data = dcmread(path, stop_before_pixels=True, specific_tags=KEYWORDS)
        syntax = data.file_meta.TransferSyntaxUID
        kind = [str(value) for value in data.get("ImageType") or []]
        return Instance(
            path=path,
            is_slide=data.get("SOPClassUID") == WHOLE_SLIDE,
            series=str(data.get("SeriesInstanceUID", "")),
            uid=str(data.get("SOPInstanceUID", "")),
            flavour=kind[2] if len(kind) > 2 else "unnamed",
            syntax=str(syntax),
            syntax_name=syntax.name,
            size=Size(
                int(data.get("TotalPixelMatrixColumns") or data.get("Columns") or 0),
                int(data.get("TotalPixelMatrixRows") or data.get("Rows") or 0),
            ),
            tile=Size(int(data.get("Columns") or 0), int(data.get("Rows") or 0)),
            samples=int(data.get("SamplesPerPixel") or 0),
            bits=int(data.get("BitsAllocated") or 0),
            focal_planes=int(data.get("TotalPixelMatrixFocalPlanes") or 1),
        )
    except Exception as error:  # pydicom has no base class for what damaged files do to it
        raise CorruptSlide(f"{name}: damaged DICOM header ({error}); copy it again") from error


def _refuse_deflated(path: Path, name: str) -> None:
    """pydicom would inflate such a file whole to read its header, to a thousand times its size."""
    from pydicom.filereader import read_file_meta_info

    try:
        syntax = read_file_meta_info(path).get("TransferSyntaxUID")
    except Exception as error:  # as in _read_instance
        raise CorruptSlide(f"{name}: damaged DICOM header ({error}); copy it again") from error
    if syntax == DEFLATED:
        raise UnsupportedSlide(
            f"{name}: a deflated DICOM file, which OpenSlide does not read; transcode it to JPEG "
            "or JPEG 2000, for example with dcmtk's or gdcm's tools"
        )


def _check_volume(volume: Instance, name: str) -> None:
    check_slide_size(volume.size, name)
    check_slide_size(volume.tile, name)
    if volume.samples != 3 or volume.bits != 8:
        raise UnsupportedSlide(
            f"{name}: DICOM with {volume.samples} samples of {volume.bits} bits, not 8-bit RGB: "
            "fluorescence or greyscale, no bright-field slide; use an RGB one"
        )
    if volume.focal_planes > 1:
        raise UnsupportedSlide(
            f"{name}: DICOM with {volume.focal_planes} focal planes; export a single one"
        )
    if volume.syntax not in SYNTAXES:
        raise UnsupportedSlide(
            f"{name}: its frames are {volume.syntax_name}, which OpenSlide does not decode; "
            "transcode it to JPEG or JPEG 2000, for example with dcmtk's or gdcm's tools"
        )
    check_block(volume.tile, 4, name)
