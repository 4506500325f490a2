"""Writes docs/openapi.json: `python -m tests.service.api.write_document`."""

import json
from pathlib import Path

from service.app import create_app
from service.settings import Settings

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "openapi.json"

if __name__ == "__main__":
    document = create_app(Settings()).openapi()
    DOCUMENT.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
