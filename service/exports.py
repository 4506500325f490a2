"""A finished result in further formats, without scoring anything again."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

from service.outputs import OUTPUTS, require_outputs
from service.records import describe_slide
from service.results import MANIFEST_SCHEMA, MASK_IMAGE, RUN, SCORES, ResultFolder
from wsi.errors import InvalidOption, ResultExists, StoreIncomplete, StoreMismatch
from wsi.export import export, load_writer, ome_zarr
from wsi.export.source import ExportSource, channels_by_tile
from wsi.geometry import Box, Mpp, Scale, Size
from wsi.grid import TileGrid
from wsi.mask import TissueMask
from wsi.regions import summarise
from wsi.slide import SlideInfo
from wsi.store import ScoreStore
from wsi.store.folder import PARTIAL

__all__ = ["export_result", "load_source", "require_result"]

PICTURES = ("overlay", "report")  # formats that show the slide itself
READ = (OUTPUTS["ome-zarr"].file, SCORES, MASK_IMAGE)  # what exports are made of


def export_result(
    folder: Path,
    names: Iterable[str],
    out: Path,
    *,
    slide: str | None = None,
    overwrite: bool = False,
    **options: Any,
) -> list[Path]:
    """Writes the named outputs (keys of OUTPUTS) of a result into `out`, and returns their paths.

    Of `options`, each writer is given those that it knows and that are not None; one that no
    writer knows is refused. `slide`: where the slide is now, for outputs that show it.
    Raises InvalidOption, ResultExists, StoreIncomplete.
    """
    names = tuple(dict.fromkeys(names))
    require_outputs(names)
    asked = {name: value for name, value in options.items() if value is not None}
    given = {name: _known_options(name, asked) for name in names}
    _refuse_unused(names, asked, given)
    targets = [out / OUTPUTS[name].file for name in names]
    _require_free(folder, targets, overwrite=overwrite)
    source = load_source(folder)
    if any(OUTPUTS[name].format in PICTURES for name in names):
        source = _with_picture(source, folder, slide)
    out.mkdir(parents=True, exist_ok=True)
    for name, target in zip(names, targets, strict=True):
        output = OUTPUTS[name]
        export(source, output.format, target, **{**given[name], **output.options})
    return targets


def load_source(folder: Path) -> ExportSource:
    """What the writers need, from a result's own files, whose sha256 are compared with those that
    its manifest states. Raises StoreIncomplete, StoreMismatch."""
    manifest = require_result(folder)
    if manifest.get("schema") != MANIFEST_SCHEMA:
        raise StoreMismatch(
            f"{folder}: its manifest has schema {manifest.get('schema')}, this program reads "
            f"{MANIFEST_SCHEMA}; make the result again with `wsi heatmap --overwrite`"
        )
    ResultFolder(folder).require_whole(manifest["outputs"], below=READ)
    try:
        return _source_from(folder, manifest)
    except (KeyError, TypeError) as error:
        raise StoreIncomplete(
            f"{folder}: its manifest is damaged ({type(error).__name__}: {error}); "
            "make the result again with `wsi heatmap --overwrite`"
        ) from error


def require_result(folder: Path) -> dict[str, Any]:
    """The manifest of a result that is finished. Raises StoreIncomplete."""
    if folder.absolute().name.endswith(PARTIAL):
        raise StoreIncomplete(
            f"{folder}: a run that was stopped left it unfinished; run the same `wsi heatmap` "
            "again, it goes on where it was"
        )
    manifest = ResultFolder(folder).manifest()
    if manifest is None:
        raise StoreIncomplete(f"{folder}: no finished result is there; run `wsi heatmap` first")
    return manifest


def _source_from(folder: Path, manifest: dict[str, Any]) -> ExportSource:
    heatmap = ome_zarr.read(folder / OUTPUTS["ome-zarr"].file)
    grid = TileGrid.from_json(manifest["grid"])
    scores = ScoreStore.open(folder / SCORES)
    mask = _read_mask(folder / MASK_IMAGE, manifest["mask"])
    indices = grid.indices_from_xy0(scores.xy0)
    return ExportSource(
        slide=_slide_info(manifest["slide"]),
        slide_id=manifest["slide"]["id"],
        model=manifest["model"]["name"],
        heatmap=heatmap,
        grid=grid,
        indices=indices,
        prob=scores.prob,
        channels=channels_by_tile(heatmap, grid, indices, scores.channels),
        mask=mask,
        summary=summarise(heatmap, mask),
        warnings=tuple(manifest["warnings"]),
        provenance={name: manifest[name] for name in ("slide", "model", "parameters", "software")},
    )


def _known_options(name: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Those that the writer of an output has, and that the output leaves open."""
    output = OUTPUTS[name]
    known = signature(load_writer(output.format)).parameters
    return {k: v for k, v in asked.items() if k in known and k not in output.options}


def _refuse_unused(
    names: tuple[str, ...], asked: Mapping[str, Any], given: Mapping[str, Mapping[str, Any]]
) -> None:
    for option in asked:
        if not any(option in known for known in given.values()):
            users = [name for name in OUTPUTS if _known_options(name, {option: None})]
            raise InvalidOption(
                f"--{option} changes nothing in {', '.join(names)}; "
                f"leave it out, or ask for {' or '.join(users)}"
            )


def _require_free(folder: Path, targets: Iterable[Path], *, overwrite: bool) -> None:
    """Files that the manifest vouches for stay as they are, with --overwrite too."""
    manifest = require_result(folder)
    own = {(folder / name).resolve() for name in manifest["outputs"]}
    own |= {path for file in own for path in file.parents if path.suffix == ".zarr"}
    for target in targets:
        if target.resolve() in own:
            raise ResultExists(f"{target}: it is part of the result; use another --out")
        if target.exists() and not overwrite:
            raise ResultExists(f"{target}: it is there; use --overwrite, or another --out")


def _read_mask(path: Path, facts: dict[str, Any]) -> TissueMask:
    import numpy as np
    from PIL import Image

    with Image.open(path) as image:
        tissue = np.asarray(image.convert("L")) > 0
    return TissueMask(tissue, facts["mpp"], Scale(*facts["px0"]), facts["method"])


def _slide_info(facts: dict[str, Any]) -> SlideInfo:
    """As much of the slide as exports need; its levels are not in a manifest."""
    return SlideInfo(
        path=facts["name"],
        reader=facts["reader"],
        vendor=facts["vendor"],
        size=Size(*facts["size0"]),
        levels=(),
        mpp=Mpp(*facts["mpp"]),
        mpp_source=facts["mpp_source"],
        objective_power=facts["objective_power"],
        bounds=Box(*facts["bounds0"]) if facts["bounds0"] else None,
    )


def _with_picture(source: ExportSource, folder: Path, slide: str | None) -> ExportSource:
    """The slide is read as it was for the result, so that the picture is the same."""
    from service.picture import read_picture
    from wsi.readers import open_slide

    request = _read_request(folder)
    path = slide or request["slide"]
    if slide is None and "://" not in path and not Path(path).exists():
        raise InvalidOption(f"{path}: the slide is not there any more; say where with --slide")
    options = {"reader": request["reader"], "apply_icc": request["icc"]}
    with open_slide(path, source.heatmap.slide_mpp, **options) as opened:
        _require_same_slide(opened.info, source)
        return replace(source, overview=read_picture(opened))


def _read_request(folder: Path) -> dict[str, Any]:
    """What was asked for: the fields of HeatmapRequest."""
    try:
        run = json.loads((folder / RUN).read_text(encoding="utf-8"))
        return {name: run["request"][name] for name in ("slide", "reader", "icc")}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreIncomplete(
            f"{folder / RUN}: not the record of a run ({error}); "
            "make the result again with `wsi heatmap --overwrite`"
        ) from error


def _require_same_slide(info: SlideInfo, source: ExportSource) -> None:
    size, size0 = info.size, source.heatmap.size0
    if size != size0:
        raise InvalidOption(
            f"{info.path}: {size.width} x {size.height} px, but the result is of a slide of "
            f"{size0.width} x {size0.height}"
        )
    if describe_slide(info)["id"] != source.slide_id:
        raise InvalidOption(
            f"{info.path}: as large as the slide of the result, but another one; "
            "say with --slide where the slide itself is"
        )
