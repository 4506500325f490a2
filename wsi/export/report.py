"""One page a slide: a self-contained HTML file that opens, prints and archives anywhere."""

import base64
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from wsi.export.histogram import draw_histogram
from wsi.export.legend import NOTICE
from wsi.export.output import partial_file
from wsi.export.png import OVERLAY_ALPHA, OVERLAY_FADE, draw_overlay
from wsi.export.source import ExportSource
from wsi.regions import summarise
from wsi.render import COLORMAPS, Style, encode

__all__ = ["write"]

PICTURE_PX = 1600  # longest side of the overlay in the page
LARGEST = 10  # regions in the table

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""A page that came by mail can load nothing and run nothing, whatever a slide's name holds."""


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
    name = _text(source.slide.name)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{name} · {_text(source.model)}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1><bdi>{name}</bdi></h1>
<p>{_headline(source, summary)}</p>
<p class="notice">{NOTICE}</p>
</header>
<main>
{_sections(source, summary, style)}
</main>
</body>
</html>
"""


def _sections(source: ExportSource, summary: Mapping[str, Any], style: Style) -> str:
    parts = [
        _section("Warnings", _warnings(source)),
        _section("Overlay", _overlay(source, summary, style)),
        _section("Summary", _summary(source, summary)),
        _section("Tile probabilities", _histogram(source, style)),
        _section("Largest regions", _regions(summary)),
        _section("Provenance", _mapping(source.provenance)),
    ]
    return "".join(parts)


def _headline(source: ExportSource, summary: Mapping[str, Any]) -> str:
    model, positive = _text(source.model), _text(source.heatmap.positive_class)
    if summary["outcome"] == "no tissue":
        why = (
            "No tile holds enough tissue." if summary["tissue_mm2"] > 0 else "No tissue was found."
        )
        return f"<strong>{why}</strong> {model} scored no tile of this slide."
    return (
        f"{model}: <strong>{_percent(summary['positive_tissue_fraction'])}</strong> of the scored "
        f"tissue has a probability of {positive} at or above {summary['threshold']:.3g}."
    )


def _section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>\n{body}</section>\n" if body else ""


def _warnings(source: ExportSource) -> str:
    lines = dict.fromkeys([*source.warnings, *source.slide.warnings, *source.mask.warnings])
    items = "".join(f"<li>{_text(line)}</li>\n" for line in lines)
    return f'<ul class="warnings">\n{items}</ul>\n' if items else ""


def _overlay(source: ExportSource, summary: Mapping[str, Any], style: Style) -> str:
    if source.overview is None:
        return ""
    marks = [(x0, y0) for x0, y0 in (r["peak0"] for r in _largest(summary))]
    rgb = draw_overlay(source, style, most_px=PICTURE_PX, marks0=marks)
    data = base64.b64encode(encode(rgb, "jpeg", quality=90)).decode("ascii")
    height, width = rgb.shape[:2]
    return (
        f'<img width="{width}" height="{height}" src="data:image/jpeg;base64,{data}" '
        f'alt="The slide with the probability of {_text(source.heatmap.positive_class)} over it">\n'
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
    if prob["mean"] is not None:
        rows["Probability, mean"] = f"{prob['mean']:.3f}"
        rows["Probability, median (5 % – 95 %)"] = (
            f"{prob['p50']:.3f} ({prob['p5']:.3f} – {prob['p95']:.3f})"
        )
        rows["Probability, largest"] = f"{prob['max']:.3f}"
    return _mapping(rows)


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
    return f"<p>{note}</p>\n" + _table(head, rows)


def _largest(summary: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(summary["regions"]["largest"][:LARGEST])


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    titles = "".join(f'<th scope="col">{_text(t)}</th>' for t in head)
    lines = "".join(f"<tr>{''.join(f'<td>{_text(c)}</td>' for c in row)}</tr>\n" for row in rows)
    return (
        f'<div class="scroll"><table class="figures"><thead><tr>{titles}</tr></thead>\n'
        f"<tbody>\n{lines}</tbody></table></div>\n"
    )


def _mapping(fields: Mapping[str, Any]) -> str:
    """Names and values, however deep, as a table in a table; nothing for nothing."""
    rows = "".join(
        f'<tr><th scope="row">{_text(key)}</th><td>{_value(value)}</td></tr>\n'
        for key, value in fields.items()
    )
    return f"<table>\n{rows}</table>\n" if rows else ""


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return _mapping(value) or "none"
    if isinstance(value, (list, tuple)):
        inner = [_value(item) for item in value]
        flat = not any(isinstance(item, (Mapping, list, tuple)) for item in value)
        joined = ", ".join(inner) if flat else "".join(f"<div>{item}</div>" for item in inner)
        return joined or "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "none" if value is None or value == "" else _text(value)


def _text(value: object) -> str:
    """Escaped; control and invisible signs, with which a name could pretend to be another, shown
    as a box."""
    return escape("".join(c if c.isprintable() else "\N{WHITE SQUARE}" for c in str(value)))


def _area(mm2: float) -> str:
    return f"{mm2:,.1f} mm²" if mm2 >= 100 else f"{mm2:.2f} mm²" if mm2 >= 0.1 else f"{mm2:.2g} mm²"


def _percent(fraction: float | None) -> str:
    return "–" if fraction is None else f"{100 * fraction:.1f} %"


STYLE = """
:root { color-scheme: light dark; --ink: #1a1a20; --pale: #5c5c68; --line: #d5d5dc; --paper: #fff;
  --warn: #fff4d6; --warn-line: #c98a00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8ee; --pale: #a4a4b2; --line: #3b3b46;
  --paper: #17171c; --warn: #33290f; --warn-line: #d9a32b; } }
body { font: 16px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; color: var(--ink);
  background: var(--paper); max-width: 62rem; margin: 0 auto; padding: 2rem 1.25rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.25rem 0 .6rem; }
.notice { color: var(--pale); border: 1px solid var(--line); border-radius: 4px;
  padding: .35rem .7rem; display: inline-block; margin: 0; }
.warnings { background: var(--warn); border-left: 4px solid var(--warn-line); margin: 0;
  padding: .6rem 1rem .6rem 2rem; overflow-wrap: anywhere; }
img { max-width: 100%; height: auto; border: 1px solid var(--line); background: #fff; }
svg { width: 100%; max-width: 46rem; height: auto; color: var(--ink); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .25rem 1.1rem .25rem 0;
  border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
th[scope=row] { font-weight: 400; color: var(--pale); white-space: nowrap; }
td table { font-size: .95em; } td table tr:last-child > * { border-bottom: 0; }
.figures { width: 100%; } .figures td { white-space: nowrap; }
@media print { :root { --ink: #000; --pale: #444; --line: #bbb; --paper: #fff; --warn: #fff; }
  body { font-size: 10pt; max-width: none; padding: 0; } section { break-inside: avoid; }
  section:last-child { break-inside: auto; } img { max-height: 15cm; width: auto; } }
"""
