"""Builds the page with npm: when the package is built or installed, and by `make viewer`.

Only the standard library: it runs before anything is installed.
"""

import hashlib
import logging
import re
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["BuildFailed", "build_bundle", "sources_sha256"]

FOLDER = Path(__file__).parent
STAMP = ".sources-sha256"  # in the bundle: of what it was made
SOURCES = ("index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts")
OLDEST_NODE = 18
TIMEOUT_S = 600

log = logging.getLogger(__name__)


class BuildFailed(Exception):
    """The page cannot be built here."""


def build_bundle(folder: Path = FOLDER) -> bool:
    """Makes `dist/` from the sources in `folder`; False where it is up to date.

    Raises BuildFailed where the sources, node or npm are missing, and where npm fails; an older
    bundle is left as it was.
    """
    if not (folder / "package.json").is_file():
        raise BuildFailed("an installed package has no sources of the page; build from a checkout")
    made_from = sources_sha256(folder)
    stamp = folder / "dist" / STAMP
    if stamp.is_file() and stamp.read_text() == made_from:
        return False
    npm = find_npm()
    run([npm, "ci"], folder)
    partial = folder / "dist.partial"
    shutil.rmtree(partial, ignore_errors=True)
    run([npm, "run", "build", "--", "--outDir", partial.name, "--emptyOutDir"], folder)
    (partial / STAMP).write_text(made_from)
    shutil.rmtree(folder / "dist", ignore_errors=True)
    partial.rename(folder / "dist")
    return True


def sources_sha256(folder: Path) -> str:
    """Of the names and bytes of all that the bundle is made of."""
    paths = [folder / name for name in SOURCES]
    paths += sorted(path for path in (folder / "src").rglob("*") if path.is_file())
    digest = hashlib.sha256()
    for path in paths:
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
    return digest.hexdigest()


def find_npm() -> str:
    """The path of npm, with a node beside it that is new enough."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise BuildFailed(f"node {OLDEST_NODE} or later and npm are needed, and not installed")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    major = re.match(r"v(\d+)\.", version.stdout)
    if major is None or int(major[1]) < OLDEST_NODE:
        raise BuildFailed(f"node {version.stdout.strip()}: {OLDEST_NODE} or later is needed")
    return npm


def run(command: list[str], folder: Path) -> None:
    """One step of the build. Raises BuildFailed with the end of what it printed."""
    shown = " ".join(["npm", *command[1:]])
    log.info("%s", shown)
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildFailed(f"{shown}: {error}") from error
    if done.returncode:
        raise BuildFailed(f"{shown} failed:\n{done.stdout[-2000:]}")


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        log.info("the page was %s", "built" if build_bundle() else "up to date")
    except BuildFailed as error:
        sys.exit(f"The viewer was not built: {error}")


if __name__ == "__main__":
    main()
