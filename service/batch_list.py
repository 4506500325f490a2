"""Which slides a batch has, and where each one's result goes."""

import csv
import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from service.errors import InvalidRequest
from service.request import HeatmapRequest
from service.results import MANIFEST, SCORES
from wsi.address import check_address, public_path, public_url, query_sha256
from wsi.errors import SlideNotFound

__all__ = ["SUFFIXES", "BatchTask", "list_slides"]

PICTURES = (".png", ".jpg", ".jpeg", ".bmp")
SCANS = (".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide")
SUFFIXES = frozenset((*SCANS, ".dcm", ".czi", *PICTURES))
"""Of files that a folder is searched for; a list may name any file."""

OWN_PICTURES = (".truth.png", ".mask.png", ".mask-picture.png")
"""What `wsi phantom` and `wsi mask` write: of a slide, and none itself."""

COLUMNS = ("path", "mpp", "mask")
HOW = (
    "a list is a CSV, separated by commas, in UTF-8, with the columns path,mpp,mask (the last two "
    "may be left out); for one slide use `wsi heatmap`"
)
SHOWN = 60  # characters of what stands in the place of column names


@dataclass(frozen=True)
class BatchTask:
    request: HeatmapRequest
    folder: Path  # of the result


def list_slides(source: Path, out: Path, template: HeatmapRequest) -> list[BatchTask]:
    """The slides below a folder, or of a CSV with the columns path, mpp, mask (the last two may be
    left out or empty). Paths in a CSV are relative to it.

    Results mirror the slides' relative paths, extensions included, so that two slides of one name
    are both kept. Raises InvalidRequest.
    """
    if source.is_dir():
        slides = list(_find(source, out))
        requests = [replace(template, slide=str(path)) for path in slides]
        root = source
    elif source.is_file():
        requests = list(_read_list(source, template))
        root = _common_folder([r.slide for r in requests])
    else:
        raise InvalidRequest(f"{source}: no such folder or list; give a folder of slides or a CSV")
    if not requests:
        raise InvalidRequest(f"{source}: no slide in it; known are {' '.join(sorted(SUFFIXES))}")
    tasks = [BatchTask(r, out / _relative(r.slide, root)) for r in requests]
    _refuse_doubles(tasks, source)
    return tasks


def _find(folder: Path, out: Path) -> Iterator[Path]:
    """Slide files below the folder, sorted; one for each DICOM series; nothing of `out`."""
    series: set[tuple[Path, str]] = set()
    for parent, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and not _is_other(parent, name, out)
        )
        for path in sorted(Path(parent, name) for name in names if not name.startswith(".")):
            if path.suffix.lower() not in SUFFIXES or path.name.endswith(OWN_PICTURES):
                continue
            if path.suffix.lower() == ".dcm":
                key = (path.parent, _series_uid(path))
                if key in series:
                    continue
                series.add(key)
            yield path


def _refuse(error: OSError) -> None:
    """A folder that cannot be listed would be left out without a word."""
    raise error


def _is_other(parent: str, name: str, out: Path) -> bool:
    """The results' own folder, a result, a store, or the data folder beside an MRXS file."""
    path = Path(parent, name)
    return (
        path.resolve() == out.resolve()
        or path.suffix in (".zarr", ".partial")
        or ((path / MANIFEST).is_file() and (path / SCORES).is_dir())
        or path.with_name(name + ".mrxs").is_file()
    )


def _series_uid(path: Path) -> str:
    """The DICOM series that a file belongs to; its own name where the header cannot be read."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"])
        return str(header.SeriesInstanceUID)
    except (InvalidDicomError, AttributeError, OSError, ValueError):
        return path.name


def _read_list(path: Path, template: HeatmapRequest) -> Iterator[HeatmapRequest]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.reader(file, strict=True)  # which refuses a quotation mark left open
            rows = [(table.line_num, row) for row in table]
    except (UnicodeDecodeError, csv.Error) as error:
        why = "no text in UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        why = "a quotation mark is not closed" if why == "unexpected end of data" else why
        raise InvalidRequest(f"{path}: it is no CSV ({why}); {HOW}") from error
    columns = _columns(path, rows[0][1] if rows else [])
    for line, row in rows[1:]:
        if len(row) > len(columns):
            raise InvalidRequest(
                f"{path}, line {line}: {len(row)} fields under {len(columns)} columns; put what "
                'holds a comma between quotation marks "'
            )
        if row:
            yield _request_of(dict(zip(columns, row, strict=False)), path, line, template)


def _columns(path: Path, row: list[str]) -> list[str]:
    names = [name.strip() for name in row]
    if set(names) - set(COLUMNS) or "path" not in names:
        shown = ascii(", ".join(names))[1:-1]  # of a slide in place of a list: anything
        raise InvalidRequest(f"{path}: its columns are {_shortened(shown) or 'none'}; {HOW}")
    if len(set(names)) < len(names):
        raise InvalidRequest(f"{path}: its columns are {', '.join(names)}; name each one once")
    return names


def _shortened(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _request_of(
    row: Mapping[str, str | None], path: Path, line: int, template: HeatmapRequest
) -> HeatmapRequest:
    slide, mpp, mask = ((row.get(name) or "").strip() for name in COLUMNS)
    if not slide:
        raise InvalidRequest(f"{path}, line {line}: the path is empty")
    try:
        slide_mpp = float(mpp) if mpp else template.mpp
    except ValueError as error:
        raise InvalidRequest(
            f"{path}, line {line}: mpp {mpp!r:.40} is no number in um/px"
        ) from error
    request = replace(template, slide=_beside(path, slide), mpp=slide_mpp)
    if not mask:
        return request
    own = replace(request, mask=mask)
    return replace(own, mask=_beside(path, mask)) if own.has_own_mask else own


def _beside(list_file: Path, entry: str) -> str:
    return entry if "://" in entry else str(list_file.parent / entry)


def _common_folder(slides: list[str]) -> Path:
    """Normal paths, as _relative() compares: `a/../..` is above `a`."""
    local = [os.path.normpath(Path(s).absolute().parent) for s in slides if "://" not in s]
    return Path(os.path.commonpath(local)) if local else Path()


def _relative(slide: str, root: Path) -> Path:
    if "://" in slide:
        return _relative_address(slide)
    path, root = Path(os.path.normpath(Path(slide).absolute())), root.absolute()
    return path.relative_to(os.path.normpath(root))


def _relative_address(url: str) -> Path:
    """Host and path, without what may be a password; two that differ in their query are told apart.

    One that is malformed has a place too: it is a row that fails, and no reason to refuse the list.
    """
    try:
        check_address(url)
    except SlideNotFound:
        return Path(f"malformed-{hashlib.sha256(url.encode(errors='replace')).hexdigest()[:8]}")
    names = public_url(url).partition("://")[2].split("/")
    names = [name for name in names if name not in ("", "..")] or ["slide"]
    query = query_sha256(url)
    return Path(*names) if query is None else Path(*names[:-1], f"{names[-1]}-{query[:8]}")


def _refuse_doubles(tasks: list[BatchTask], source: Path) -> None:
    seen: set[Path] = set()
    for task in tasks:
        if task.folder in seen:
            slide = public_path(task.request.slide)
            raise InvalidRequest(f"{source}: {slide} is in it twice; name it once")
        seen.add(task.folder)
