"""The header gate: what a path is, which files belong to it, and whether it is safe to open.

Nothing is decoded here. A hostile header can end the process of the library that reads it, and
Python cannot catch that, so whatever fails a check never gets there.
"""

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wsi.address import check_address
from wsi.errors import CorruptSlide, SlideNotFound, UnsupportedSlide, WsiError
from wsi.geometry import Size
from wsi.readers.dicom import find_series, is_dicom
from wsi.readers.limits import check_slide_size, check_untiled_size
from wsi.readers.picture import open_picture
from wsi.readers.tiffgate import check_tiff
from wsi.readers.tifftags import TiffHeader, is_tiff, read_tiff_header

if TYPE_CHECKING:
    from wsi.readers.remote import RemoteFile

__all__ = ["PICTURES", "Source", "check_header", "is_remote"]

PICTURES = ("png", "jpeg", "bmp")
MAGIC = {
    b"\x89PNG\r\n\x1a\n": "png",
    b"\xff\xd8\xff": "jpeg",
    b"BM": "bmp",
    b"ZISRAWFILE": "czi",
}
HAMAMATSU = ("[Virtual Microscope Specimen]", "[Uncompressed Virtual Microscope Specimen]")
MAX_INDEX_BYTES = 16 << 20  # of a VMS or VMU file or a Slidedat.ini: texts that name other files
MAX_FOLDER_FILES = 20_000
FORMATS = "SVS, NDPI, MRXS, SCN, BIF, VMS, TIFF, DICOM, CZI, PNG, JPEG and BMP"


@dataclass(frozen=True)
class Source:
    """A slide that passed the gate."""

    path: str  # as it was given
    kind: str  # tiff, dicom, mirax, hamamatsu, czi, png, jpeg, bmp; url: not looked at
    entry: Path  # the file to open; meaningless for a URL
    files: tuple[Path, ...] = ()  # every local file of the slide
    tiff: TiffHeader | None = None
    remote: "RemoteFile | None" = None  # of a URL that was connected to; whoever opens it owns it


def is_remote(path: str) -> bool:
    return "://" in path


def check_header(path: str) -> Source:
    """Raises SlideNotFound, UnsupportedSlide, CorruptSlide or SlideTooLarge."""
    if is_remote(path):
        check_address(path)
        return Source(path, "url", Path())
    if not path:
        raise SlideNotFound("the slide's path is empty; give a file, a folder or a URL")
    entry = Path(path)
    read = _dicom_source if _mode(entry, path) == "folder" else _file_source
    try:
        return read(entry, path)
    except OSError as error:
        raise _unreadable(path, error) from error


def _file_source(entry: Path, path: str) -> Source:
    if entry.suffix.lower() == ".mrxs":
        return Source(path, "mirax", entry, _mirax_files(entry, path))
    with entry.open("rb") as stream:
        head = stream.read(256)
    if is_tiff(head):
        return _tiff_source(entry, path)
    if is_dicom(head):
        return _dicom_source(entry, path)
    if any(section.encode() in head for section in HAMAMATSU):
        return Source(path, "hamamatsu", entry, _hamamatsu_files(entry, path))
    kind = next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), None)
    if kind is None:
        raise UnsupportedSlide(
            f"{path}: no slide or picture that is known here ({FORMATS}); check that it is the "
            "right file and was copied whole"
        )
    if kind in PICTURES:
        _check_picture(entry, kind, path)
    return Source(path, kind, entry, (entry,))


def _tiff_source(entry: Path, path: str) -> Source:
    with entry.open("rb") as stream:
        header = read_tiff_header(stream, entry.stat().st_size, path)
    check_tiff(header, path)
    return Source(path, "tiff", entry, (entry,), header)


def _dicom_source(entry: Path, path: str) -> Source:
    series = find_series(entry, path)
    for file in series.files:
        _mode(file, str(file))
    return Source(path, "dicom", series.entry, series.files)


def _mirax_files(entry: Path, path: str) -> tuple[Path, ...]:
    """The .mrxs file and all of the folder of its name, where the pixels are."""
    folder = entry.with_suffix("")
    if not (folder / "Slidedat.ini").is_file():
        raise SlideNotFound(
            f"{path}: the folder {folder.name} with its Slidedat.ini is missing beside it; "
            "copy both, they are one slide"
        )
    if (folder / "Slidedat.ini").stat().st_size > MAX_INDEX_BYTES:
        raise CorruptSlide(f"{path}: a Slidedat.ini of more than 16 MiB; it is no MRXS slide")
    parts = sorted(p for p in folder.rglob("*") if p.is_file())
    if len(parts) > MAX_FOLDER_FILES:
        raise UnsupportedSlide(f"{path}: {len(parts)} files in {folder.name}; a slide has fewer")
    return (entry, *parts)


def _hamamatsu_files(entry: Path, path: str) -> tuple[Path, ...]:
    """The .vms or .vmu file and those that it names, all in its own folder."""
    if entry.stat().st_size > MAX_INDEX_BYTES:
        raise CorruptSlide(f"{path}: an index of more than 16 MiB; it is no VMS file")
    lines = entry.read_text("utf-8", "replace").splitlines()
    pairs = (line.split("=", 1) for line in lines if "=" in line)
    names = {value.strip() for key, value in pairs if _names_file(key.strip())}
    if len(names) > MAX_FOLDER_FILES:
        raise UnsupportedSlide(f"{path}: it names {len(names)} files; a slide has fewer")
    parts = sorted(entry.parent / name for name in names if name)
    for part in parts:
        if part.parent != entry.parent:
            raise CorruptSlide(f"{path}: it names {part.name} in another folder; no VMS file does")
        _mode(part, f"{path}: {part.name}")
        _check_jpeg_part(part, path)
    return (entry, *parts)


def _names_file(key: str) -> bool:
    return key.startswith(("ImageFile", "MapFile", "MacroImage", "OptimisationFile"))


def _check_jpeg_part(part: Path, path: str) -> None:
    with part.open("rb") as stream:
        if stream.read(3) != b"\xff\xd8\xff":
            return
    check_slide_size(_picture_size(part, "jpeg", path), path)


def _check_picture(entry: Path, kind: str, path: str) -> None:
    size = _picture_size(entry, kind, path)
    check_slide_size(size, path)
    check_untiled_size(size, path)


def _picture_size(entry: Path, kind: str, path: str) -> Size:
    with open_picture(entry, kind, path) as picture:
        return Size(*picture.size)


def _mode(entry: Path, path: str) -> str:
    """`folder` or `file`. SlideNotFound, UnsupportedSlide, CorruptSlide where it is neither."""
    try:
        status = entry.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SlideNotFound(f"{path}: there is no such file; check the path") from error
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if stat.S_ISDIR(status.st_mode):
        return "folder"
    if not stat.S_ISREG(status.st_mode):
        raise UnsupportedSlide(f"{path}: a device, pipe or socket; give a file")
    if status.st_size == 0:
        raise CorruptSlide(f"{path}: the file is empty; copy it again from its source")
    return "file"


def _unreadable(path: str, error: Exception) -> WsiError:
    reason = getattr(error, "strerror", None) or str(error)
    return SlideNotFound(f"{path}: cannot be opened ({reason}); check its name and permissions")
