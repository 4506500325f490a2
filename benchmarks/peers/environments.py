"""A virtual environment for each peer, with what the peer itself asks for.

torch, torchvision and the libraries that come with them are linked from the environment that this
runs in: all sides compute with the same arithmetic, and several GB are there once. Each peer's
other requirements are installed as its wheel states them. TIAToolbox states an older torch; with
own_torch each gets what it asks for.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

__all__ = ["PEERS", "Peer", "make_environment", "versions"]

LINKED = re.compile(r"(torch|torchvision|triton|nvidia|cuda)\b")


@dataclass(frozen=True)
class Peer:
    """wheel: installed without its requirements. extra: installed beside what the wheel states."""

    wheel: str
    extra: tuple[str, ...] = ()


PEERS = {
    "tiatoolbox": Peer("tiatoolbox==2.1.3"),
    # 0.6.1 reaches into zarr 2, which tiffslide 3 no longer accepts
    "wsinfer": Peer("wsinfer==0.6.1", ("zarr<3", "tiffslide<3")),
}


def make_environment(peer: Peer, folder: Path, *, own_torch: bool = False) -> Path:
    """The Python of `folder`, in which the peer is installed; made only where it is not there yet.

    Raises subprocess.CalledProcessError where something cannot be installed.
    """
    python = folder / "bin" / "python"
    done = folder / "installed.txt"
    if done.is_file() and done.read_text("utf-8") == str(peer):
        return python
    links = folder.with_suffix(".torch")
    for started in (folder, links):
        shutil.rmtree(started, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    if own_torch:
        _install(python, peer.wheel, *peer.extra)
    else:
        _link_torch(_site_packages(python), links)
        _install(python, "--no-deps", peer.wheel)
        stated = _requirements(python, peer.wheel.partition("==")[0])
        _install(python, *stated, *peer.extra, f"torch=={metadata.version('torch')}")
    done.write_text(str(peer), "utf-8")
    return python


def versions(python: Path) -> dict[str, str]:
    """Name → version of the packages that matter to speed, as the environment has them."""
    code = (
        "from importlib.metadata import distributions as d; "
        "print(*{f'{x.name}=={x.version}' for x in d()}, sep='\\n')"
    )
    out = subprocess.check_output([python, "-c", code], text=True)
    found = dict(line.lower().split("==", 1) for line in out.split())
    names = ("tiatoolbox", "wsinfer", "torch", "torchvision", "numpy", "zarr", "tiffslide",
             "tifffile", "imagecodecs", "openslide-python", "openslide-bin")  # fmt: skip
    return {name: found[name] for name in names if name in found}


def _install(python: Path, *requirements: str) -> None:
    quiet = ["--quiet", "--no-cache-dir", "--disable-pip-version-check"]
    command = [str(python.absolute()), "-m", "pip", "install", *quiet, *requirements]
    # away from this project, which pip would take for one of the environment's packages
    subprocess.run(command, check=True, cwd=python.parent)


def _requirements(python: Path, name: str) -> list[str]:
    """Of an installed package; those of its extras, and torch, left out."""
    code = f"from importlib.metadata import requires as r; print(*r({name!r}), sep='\\n')"
    stated = subprocess.check_output([python, "-c", code], text=True).splitlines()
    return [line for line in stated if "extra ==" not in line and not LINKED.match(line)]


def _link_torch(site_packages: Path, links: Path) -> None:
    """Puts links to what belongs to torch, metadata included, on the path of an environment.

    They lie outside it, where pip sees them and removes nothing.
    """
    links.mkdir()
    for path in set(_torch_paths()):
        (links / path.name).symlink_to(path)
    (site_packages / "torch.pth").write_text(f"{links.absolute()}\n", "utf-8")


def _torch_paths() -> Iterator[Path]:
    """Top folders of torch's distributions; pip's own records stay as they are."""
    ours = Path(sysconfig.get_path("purelib"))
    for distribution in metadata.distributions(path=[str(ours)]):
        if LINKED.match(distribution.name.lower()):
            tops = {file.parts[0] for file in distribution.files or ()}
            yield from (ours / top for top in tops if top != os.pardir)


def _site_packages(python: Path) -> Path:
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(subprocess.check_output([python, "-c", code], text=True).strip())
