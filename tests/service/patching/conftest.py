import shutil
from pathlib import Path
from typing import Any

import pytest

from service.patching import cut_patches
from tests.models.annotated import (
    make_tissue,
    write_slide,
)
from tests.service.patching.drawn_slides import REQUEST, write_annotated


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two annotated slides, and one that nobody drew on."""
    folder = tmp_path_factory.mktemp("bach") / "WSI"
    write_annotated(folder, "A01", seed=1)
    write_annotated(folder, "A02", seed=2)
    write_slide(folder / "01.svs", make_tissue(256, 256))
    return folder


@pytest.fixture
def copied(slides: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(slides, tmp_path / "WSI"))


@pytest.fixture(scope="module")
def cut(slides: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("cut") / "patches"
    return out, cut_patches(slides, out, REQUEST)
