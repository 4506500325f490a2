"""One page a slide: a self-contained HTML file that opens, prints and archives anywhere."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsi.export.histogram import draw_histogram
from wsi.export.legend import NOTICE
from wsi.export.output import partial_file
from wsi.export.page import escaped, make_page, mapping, section, table, warnings_list
from wsi.export.png import OVERLAY_ALPHA, OVERLAY_FADE, draw_overlay
from wsi.export.source import ExportSource
from wsi.regions import summarise
from wsi.render import COLORMAPS, Style, encode

__all__ = ["write"]

PICTURE_PX = 1600  # longest side of the overlay in the page
LARGEST = 10  # regions in the table


def write(source: ExportSource, path: Path, *, colormap: str = COLORMAPS[0]) -> Path:
    """`report.html`: overlay, summary, warnings, histogram, largest regions, provenance.

    Everything that is not of this program (names, warnings, provenance) is escaped. Positions are
    level-0 px from the slide's top left corner.
    """
    page = _page(source, Style(colormap, alpha=OVERLAY_ALPHA, fade=OVERLAY_FADE))
    with partial_file(path) as partial:
        partial.write_text(page, encoding="utf-8")
    return path


def _page(source: ExportSource, style: Style) -> str:
    summary = source.summary or summarise(source.heatmap, source.mask, top=LARGEST)
    name = escaped(source.slide.name)
    return make_page(
        heading=name,
        title=f"{name} · {escaped(source.model)}",
        lead=_headline(source, summary),
        notice=NOTICE,
        body=_sections(source, summary, style),
    )


def _sections(source: ExportSource, summary: Mapping[str, Any], style: Style) -> str:
    parts = [
        section("Warnings", _warnings(source)),
        section("Overlay", _overlay(source, summary, style)),
        section("Summary", _summary(source, summary)),
        section("Tile probabilities", _histogram(source, style)),
        section("Largest regions", _regions(summary)),
        section("Provenance", mapping(source.provenance)),
    ]
    return "".join(parts)


def _headline(source: ExportSource, summary: Mapping[str, Any]) -> str:
    model, positive = escaped(source.model), escaped(source.heatmap.positive_class)
    if summary["outcome"] == "no tissue":
        why = (
            "No tile holds enough tissue." if summary["tissue_mm2"] > 0 else "No tissue was found."
        )
        return f"<strong>{why}</strong> {model} scored no tile of this slide."
    return (
        f"{model}: <strong>{_percent(summary['positive_tissue_fraction'])}</strong> of the scored "
        f"tissue has a probability of {positive} at or above {summary['threshold']:.3g}."
    )


def _warnings(source: ExportSource) -> str:
    return warnings_list([*source.warnings, *source.slide.warnings, *source.mask.warnings])


def _overlay(source: ExportSource, summary: Mapping[str, Any], style: Style) -> str:
    if source.overview is None:
        return ""
    marks = [(x0, y0) for x0, y0 in (r["peak0"] for r in _largest(summary))]
    rgb = draw_overlay(source, style, most_px=PICTURE_PX, marks0=marks)
    data = base64.b64encode(encode(rgb, "jpeg", quality=90)).decode("ascii")
    height, width = rgb.shape[:2]
    positive = escaped(source.heatmap.positive_class)
    return (
        f'<img width="{width}" height="{height}" src="data:image/jpeg;base64,{data}" '
        f'alt="The slide with the probability of {positive} over it">\n'
    )


def _summary(source: ExportSource, summary: Mapping[str, Any]) -> str:
    mpp, prob, found = source.heatmap.slide_mpp, summary["prob"], summary["regions"]
    size = source.heatmap.size0
    rows = {
        "Slide": f"{size.width:,} × {size.height:,} px at {mpp.x:.4g} × {mpp.y:.4g} µm/px",
        "Resolution from": source.slide.mpp_source or "the caller",
        "Tiles scored": f"{len(source.indices):,} of {source.grid.tile_px} px at "
        f"{source.grid.mpp:g} µm/px, every {source.grid.stride_px} px",
        "Tissue": _area(summary["tissue_mm2"]),
        "Tissue scored": _area(summary["scored_tissue_mm2"]),
        "Tissue at or above threshold": f"{_area(summary['positive_tissue_mm2'])} "
        f"({_percent(summary['positive_tissue_fraction'])})",
        "Threshold": f"{summary['threshold']:.4g}",
        "Regions": f"{found['count']:,}, together {_area(found['area_mm2'])}",
    }
    if "uncertain" in summary:
        rows["Uncertain tissue"] = _uncertain(summary["uncertain"])
    if prob["mean"] is not None:
        rows["Probability, mean"] = f"{prob['mean']:.3f}"
        rows["Probability, median (5 % – 95 %)"] = (
            f"{prob['p50']:.3f} ({prob['p5']:.3f} – {prob['p95']:.3f})"
        )
        rows["Probability, largest"] = f"{prob['max']:.3f}"
    return mapping(rows)


def _histogram(source: ExportSource, style: Style) -> str:
    prob = source.prob[:, source.heatmap.classes.index(source.heatmap.positive_class)]
    if not len(prob):
        return ""
    return draw_histogram(prob, source.heatmap.threshold, style)


def _regions(summary: Mapping[str, Any]) -> str:
    if not _largest(summary):
        return ""
    head = ("", "Area", "Mean prob.", "Largest prob.", "at x, y", "Box x, y, width, height")
    rows = [
        (
            str(number),
            _area(region["area_mm2"]),
            f"{region['mean_prob']:.3f}",
            f"{region['max_prob']:.3f}",
            ", ".join(f"{v:.0f}" for v in region["peak0"]),
            ", ".join(str(v) for v in region["box0"]),
        )
        for number, region in enumerate(_largest(summary), 1)
    ]
    note = (
        "Connected cells at or above the threshold. Positions are level-0 pixels; the overlay has "
        "the numbers where a region's probability is largest."
    )
    return f"<p>{note}</p>\n" + table(head, rows)


def _largest(summary: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(summary["regions"]["largest"][:LARGEST])


def _area(mm2: float) -> str:
    return f"{mm2:,.1f} mm²" if mm2 >= 100 else f"{mm2:.2f} mm²" if mm2 >= 0.1 else f"{mm2:.2g} mm²"


def _uncertain(found: Mapping[str, Any]) -> str:
    return (
        f"{_area(found['tissue_mm2'])} ({_percent(found['tissue_fraction'])}): the 8 symmetries of "
        f"a tile disagree by a standard deviation above {found['above']:g}"
    )


def _percent(fraction: float | None) -> str:
    return "–" if fraction is None else f"{100 * fraction:.1f} %"
