"""How the page is built, packed and served."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from service.routes import viewer
from service.viewer import bundle_folder
from service.viewer.build import BuildFailed, build_bundle
from wsi.render import COLORMAPS, colormap

REPOSITORY = Path(__file__).resolve().parents[3]
SOURCES = ("index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts")


def get(path: str) -> httpx.Response:
    """What the route answers."""
    app = FastAPI()
    app.include_router(viewer.router)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get(path)

    return asyncio.run(ask())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sources of a page, small ones."""
    made = tmp_path / "service" / "viewer"
    (made / "src").mkdir(parents=True)
    for name in (*SOURCES, "src/main.ts"):
        (made / name).write_text(name)
    return made


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A path on which Node and npm are what a test says they are."""
    tools = tmp_path / "tools"
    tools.mkdir()
    write_tool(tools / "node", "echo v18.0.0")
    write_tool(tools / "npm", 'if [ "$1" = run ]; then mkdir $5; echo made > $5/index.html; fi')
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}/usr/bin{os.pathsep}/bin")
    return tools


def write_tool(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def serve(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewer, "bundle_folder", lambda: bundle_folder(folder))


def test_the_page_comes_with_a_strict_policy(folder: Path, monkeypatch: pytest.MonkeyPatch):
    (folder / "dist").mkdir()
    (folder / "dist" / "index.html").write_text("<p>page")
    serve(folder, monkeypatch)
    answer = get("/viewer")
    assert answer.status_code == 200
    assert answer.text == "<p>page"
    policy = answer.headers["content-security-policy"].split("; ")
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-cache"


def test_an_asset_is_kept_forever_and_nothing_else_is_sent(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    (folder / "dist" / "assets").mkdir(parents=True)
    (folder / "dist" / "index.html").write_text("<p>page")
    (folder / "dist" / "assets" / "index-1a2b.js").write_text("run()")
    serve(folder, monkeypatch)
    answer = get("/viewer/assets/index-1a2b.js")
    assert answer.text == "run()"
    assert answer.headers["content-type"].startswith("text/javascript")
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    for name in ("index.html", "..%2Findex.html", "%2e%2e", "missing.js"):
        assert get(f"/viewer/assets/{name}").status_code == 404, name


def test_without_a_bundle_it_says_how_to_build_it(folder: Path, monkeypatch: pytest.MonkeyPatch):
    serve(folder, monkeypatch)
    answer = get("/viewer")
    assert answer.status_code == 503
    assert "make viewer" in answer.text
    assert get("/viewer/assets/index-1a2b.js").status_code == 404


def test_unchanged_sources_are_not_built_again(folder: Path, node: Path):
    assert build_bundle(folder)
    write_tool(node / "npm", "exit 1")
    assert not build_bundle(folder)
    (folder / "src" / "main.ts").write_text("changed")
    with pytest.raises(BuildFailed, match="npm ci failed"):
        build_bundle(folder)


def test_a_failed_build_leaves_the_older_bundle(folder: Path, node: Path):
    build_bundle(folder)
    (folder / "src" / "main.ts").write_text("changed")
    write_tool(node / "npm", 'test "$1" = ci || { echo syntax error; exit 1; }')
    with pytest.raises(BuildFailed, match="syntax error"):
        build_bundle(folder)
    assert (folder / "dist" / "index.html").read_text() == "made\n"


@pytest.mark.parametrize(("version", "reason"), [("v16.20.0", "18 or later"), ("", "18 or later")])
def test_an_old_node_is_named(folder: Path, node: Path, version: str, reason: str):
    write_tool(node / "node", f"echo {version}")
    with pytest.raises(BuildFailed, match=reason):
        build_bundle(folder)


def pack(folder: Path, node_path: str) -> tuple[set[str], str]:
    """Builds the package around `folder` with the project's own set-up: its files, its output."""
    tree = folder.parents[1]
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, tree)
    for name in ("wsi/__init__.py", "service/__init__.py", "service/viewer/__init__.py"):
        (tree / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / name, tree / name)
    shutil.copy(REPOSITORY / "service" / "viewer" / "build.py", folder)
    done = subprocess.run(
        [sys.executable, "setup.py", "build", "--build-lib", "out"],
        cwd=tree,
        env=os.environ | {"PATH": node_path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    packed = {str(path.relative_to(tree / "out")) for path in (tree / "out").rglob("*.*")}
    return packed, done.stdout + done.stderr


def test_a_package_holds_the_page_and_not_its_sources(folder: Path, node: Path):
    packed, _ = pack(folder, os.environ["PATH"])
    assert "service/viewer/dist/index.html" in packed
    assert not [name for name in packed if name.endswith((".ts", ".json"))]


def test_a_package_is_made_without_node_and_says_what_it_lacks(folder: Path, tmp_path: Path):
    packed, output = pack(folder, str(tmp_path))
    assert "service/viewer/build.py" in packed
    assert "service/viewer/dist/index.html" not in packed
    assert "the viewer is left out: node 18 or later and npm are needed" in output


def test_the_lock_names_no_host(viewer_folder: Path):
    lock = (viewer_folder / "package-lock.json").read_text()
    assert not re.search(r"://|\bwww\.|resolved", lock)
    packages = json.loads(lock)["packages"]
    assert all("integrity" in entry for name, entry in packages.items() if name)


def test_the_legend_has_the_colours_of_the_tiles(viewer_folder: Path):
    stops = json.loads((viewer_folder / "src" / "colormaps.json").read_text())
    assert list(stops) == list(COLORMAPS)
    for name, colours in stops.items():
        places = [round(255 * number / (len(colours) - 1)) for number in range(len(colours))]
        table = colormap(name)
        assert colours == ["#{:02x}{:02x}{:02x}".format(*table[place]) for place in places]


@pytest.mark.slow
def test_the_page_passes_its_own_checks(bundle: None, viewer_folder: Path):
    for script in ("types", "test"):
        done = subprocess.run(
            ["npm", "run", script], cwd=viewer_folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout
