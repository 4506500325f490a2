"""A self-contained HTML page: its frame, its style, and the tables in it.

What is not of this program (names, warnings, provenance) goes through `escaped` or a function that
uses it; all other arguments are HTML.
"""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

__all__ = ["POLICY", "escaped", "make_page", "mapping", "section", "table", "warnings_list"]

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""A page that came by mail can load nothing and run nothing, whatever a slide's name holds."""


def make_page(
    *, heading: str, title: str, lead: str, notice: str, body: str, style: str = ""
) -> str:
    """All of it HTML. heading: a name, shown whichever way it is written. style: CSS of this page
    beside STYLE, whose colours it may use."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{STYLE}{style}</style>
</head>
<body>
<header>
<h1><bdi>{heading}</bdi></h1>
<p>{lead}</p>
<p class="notice">{notice}</p>
</header>
<main>
{body}
</main>
</body>
</html>
"""


def section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>\n{body}</section>\n" if body else ""


def warnings_list(lines: Iterable[str]) -> str:
    """Each once; nothing for nothing."""
    items = "".join(f"<li>{escaped(line)}</li>\n" for line in dict.fromkeys(lines))
    return f'<ul class="warnings">\n{items}</ul>\n' if items else ""


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    titles = "".join(f'<th scope="col">{escaped(t)}</th>' for t in head)
    lines = "".join(f"<tr>{''.join(f'<td>{escaped(c)}</td>' for c in row)}</tr>\n" for row in rows)
    return (
        f'<div class="scroll"><table class="figures"><thead><tr>{titles}</tr></thead>\n'
        f"<tbody>\n{lines}</tbody></table></div>\n"
    )


def mapping(fields: Mapping[str, Any]) -> str:
    """Names and values, however deep, as a table in a table; nothing for nothing."""
    rows = "".join(
        f'<tr><th scope="row">{escaped(key)}</th><td>{_value(value)}</td></tr>\n'
        for key, value in fields.items()
    )
    return f"<table>\n{rows}</table>\n" if rows else ""


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return mapping(value) or "none"
    if isinstance(value, (list, tuple)):
        inner = [_value(item) for item in value]
        flat = not any(isinstance(item, (Mapping, list, tuple)) for item in value)
        joined = ", ".join(inner) if flat else "".join(f"<div>{item}</div>" for item in inner)
        return joined or "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "none" if value is None or value == "" else escaped(value)


def escaped(value: object) -> str:
    """Escaped; control and invisible signs, with which a name could pretend to be another, shown
    as a box."""
    return escape("".join(c if c.isprintable() else "\N{WHITE SQUARE}" for c in str(value)))


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
