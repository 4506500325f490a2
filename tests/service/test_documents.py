"""What the documents list is what the code has."""

import json
import re
from pathlib import Path
from typing import Any

from service.problems import PROBLEMS
from service.settings import GIB, MIB, Settings

DOCS = Path(__file__).resolve().parents[2] / "docs"


def setting_rows() -> list[tuple[str, str]]:
    """Name and default of each, as docs/service.md writes them."""
    fields = Settings.model_fields.items()
    return [(f"WSI_{name.upper()}", shown(name, field.default)) for name, field in fields]


def shown(name: str, value: Any) -> str:
    if value is None or value == ():
        return "–"
    if name.endswith("_bytes"):
        return f"{value // GIB} GiB" if value % GIB == 0 else f"{value // MIB} MiB"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def problem_rows() -> list[list[str]]:
    return [
        [f"`{slug}`", str(kind.status), kind.title, seconds(kind.retry_after_s)]
        for slug, kind in PROBLEMS.items()
    ]


def seconds(value: int | None) -> str:
    return "" if value is None else f"{value} s"


def cells(document: str, start: str) -> list[list[str]]:
    """Of the table rows that begin so."""
    lines = (DOCS / document).read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith(start)]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_the_table_of_settings_is_that_of_the_code() -> None:
    rows = cells("service.md", "| `WSI_")
    assert [(row[0].strip("`"), row[1]) for row in rows] == setting_rows()
    assert all(row[2] for row in rows)


def test_the_table_of_problems_is_that_of_the_code() -> None:
    slugs = {f"`{slug}`" for slug in PROBLEMS}
    found = [row for row in cells("service.md", "| `") if row[0] in slugs]
    assert found == problem_rows()


def test_every_address_is_in_the_overview() -> None:
    paths = json.loads((DOCS / "openapi.json").read_text(encoding="utf-8"))["paths"]
    wanted = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    listed = [(row[0], row[1].strip("`")) for row in cells("api.md", "| ") if "/" in row[1]]
    assert sorted(listed) == sorted({*wanted, ("GET", "/viewer")})


def test_variables_and_files_that_are_named_exist() -> None:
    known = {name for name, _ in setting_rows()}
    for document in ("service.md", "api.md"):
        text = (DOCS / document).read_text(encoding="utf-8")
        assert {*re.findall(r"\bWSI_[A-Z_]+\b", text)} <= known, document
        for link in re.findall(r"\]\(([^)#]+)\)", text):
            assert link.startswith("http") or (DOCS / link).exists(), link
