"""Runs the steps of a Dockerfile in a Debian root made by debootstrap, where no engine runs.

python docker/rehearse.py docker/api.Dockerfile [--check 'COMMAND']   (as root, on Debian)

FROM is answered by the same release of Debian; ARG, ENV, WORKDIR, COPY, RUN and USER are carried
out; VOLUME, EXPOSE, HEALTHCHECK and CMD are read, and CMD's program has to be there. Layers,
caches and the read-only root are an engine's, and are not shown.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

RELEASES = {"12": "bookworm", "13": "trixie"}

HOST_SETTINGS = ("PIP_", "SSL_CERT_", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE")
"""How this machine reaches its packages: a build on an engine gets the same from its daemon."""

HOST_FILES = ("/etc/resolv.conf", "/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf")

LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", "node_modules", "dist", "*.egg-info", "*_cache", "*.so"
)


@dataclass
class Stage:
    """What is known while a stage is built."""

    root: Path
    name: str
    environment: dict[str, str] = field(default_factory=dict)
    shell: list[str] = field(default_factory=lambda: ["/bin/sh", "-c"])
    folder: str = "/"
    user: str = "0:0"
    command: list[str] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("dockerfile", type=Path)
    parser.add_argument("--work", type=Path, default=Path("/tmp/rehearsal"))
    parser.add_argument("--check", help="a shell command that has to succeed inside")
    parser.add_argument("--keep", action="store_true", help="leave the roots to look at")
    given = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("debootstrap and chroot need root")
    try:
        stage = rehearse(given.dockerfile, given.work)
        check_command(stage, given.check)
    finally:
        if not given.keep:
            for root in given.work.glob("stage-*"):
                shutil.rmtree(root)
    print(f"{given.dockerfile}: every step ran; `{shlex.join(stage.command)}` is there")


def rehearse(dockerfile: Path, work: Path) -> Stage:
    """Builds all stages and returns the last."""
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    context = dockerfile.resolve().parents[1]
    for word, rest in read_steps(dockerfile.read_text(encoding="utf-8")):
        print(f"{word} {rest[:110]}", flush=True)
        if word == "FROM":
            image, _, name = re.fullmatch(r"(\S+)(\s+AS\s+(\S+))?", rest).groups()  # type: ignore[union-attr]
            stage = Stage(make_root(image, work, len(stages)), name or str(len(stages)))
            stages[stage.name] = stage
        elif stage is None:
            raise ValueError(f"{word} before FROM")
        else:
            carry_out(stage, word, rest, stages, context)
    if stage is None:
        raise ValueError(f"{dockerfile}: no FROM")
    return stage


def read_steps(text: str) -> Iterator[tuple[str, str]]:
    """(instruction, rest), with continued lines joined and comments left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for step in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        if step.strip():
            word, _, rest = step.strip().partition(" ")
            yield word.upper(), rest.strip()


def make_root(image: str, work: Path, number: int) -> Path:
    release = RELEASES[re.match(r"debian:(\d+)", image)[1]]  # type: ignore[index]
    base = work / f"base-{release}"
    if not (base / "etc/debian_version").is_file():
        work.mkdir(parents=True, exist_ok=True)
        mirror = debian_mirror()
        run(["debootstrap", "--variant=minbase", release, str(base), mirror])
    root = work / f"stage-{number}"
    shutil.rmtree(root, ignore_errors=True)
    run(["cp", "-a", str(base), str(root)])
    return root


def copy_host_files(root: Path) -> None:
    """Before each step: installing ca-certificates writes the bundle anew."""
    for file in filter(os.path.isfile, HOST_FILES):
        target = root / file[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)


def debian_mirror() -> str:
    """Where this machine has its own packages from."""
    listed = run(["apt-get", "indextargets", "--format", "$(REPO_URI)"], capture=True).split()
    return next(uri for uri in listed if "security" not in uri)


def carry_out(stage: Stage, word: str, rest: str, stages: dict[str, Stage], context: Path) -> None:
    match word:
        case "ARG":
            name, _, value = rest.partition("=")
            stage.environment.setdefault(name, value)
        case "ENV":
            for pair in shlex.split(rest):
                name, _, value = pair.partition("=")
                stage.environment[name] = expand(value, stage)
        case "SHELL":
            stage.shell = json.loads(rest)
        case "WORKDIR":
            stage.folder = rest
            (stage.root / rest[1:]).mkdir(parents=True, exist_ok=True)
        case "USER":
            stage.user = rest
        case "COPY":
            copy(stage, rest, stages, context)
        case "RUN":
            run_inside(stage, [*stage.shell, rest])
        case "CMD":
            stage.command = json.loads(rest)
        case "VOLUME" | "EXPOSE" | "HEALTHCHECK":
            pass
        case _:
            raise ValueError(f"{word}: this rehearsal does not know it")


def expand(value: str, stage: Stage) -> str:
    known = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    return re.sub(r"\$(\w+)", lambda found: (known | stage.environment).get(found[1], ""), value)


def copy(stage: Stage, rest: str, stages: dict[str, Stage], context: Path) -> None:
    words = shlex.split(rest)
    source_root = context
    if words[0].startswith("--from="):
        source_root = stages[words.pop(0).partition("=")[2]].root
    *sources, target = words
    for source in sources:
        path = source_root / source.lstrip("/")
        inside = stage.root / target.lstrip("/")
        if path.is_dir():
            shutil.copytree(path, inside, ignore=LEFT_OUT, dirs_exist_ok=True, symlinks=True)
        else:
            shutil.copy(path, inside)


def check_command(stage: Stage, check: str | None) -> None:
    """The image's own command answers --help, as the image's own user; then `check` runs."""
    if not stage.command:
        raise ValueError("no CMD")
    run_inside(stage, [*stage.command, "--help"])
    if check is not None:
        run_inside(stage, [*stage.shell, check])


def run_inside(stage: Stage, command: list[str]) -> None:
    settings = {n: v for n, v in os.environ.items() if n.startswith(HOST_SETTINGS)}
    settings.pop("PIP_FIND_LINKS", None)  # a folder of this machine
    environment = {"PATH": expand("$PATH", stage), "HOME": "/tmp"} | settings | stage.environment
    words = [f"{name}={value}" for name, value in environment.items()]
    copy_host_files(stage.root)
    with mounted(stage.root):
        go = f'cd {shlex.quote(stage.folder)} && exec "$@"'
        enter = ["chroot", f"--userspec={stage.user}", str(stage.root), "/usr/bin/env", "-i"]
        run([*enter, *words, "/bin/sh", "-c", go, "sh", *command])


@contextmanager
def mounted(root: Path) -> Iterator[None]:
    with ExitStack() as stack:
        for name in ("proc", "dev", "sys"):
            run(["mount", "--rbind", "--make-rslave", f"/{name}", str(root / name)])
            stack.callback(run, ["umount", "--recursive", "--lazy", str(root / name)])
        yield


def run(command: list[str], *, capture: bool = False) -> str:
    done = subprocess.run(
        command, check=True, text=True, stdout=subprocess.PIPE if capture else None
    )
    return done.stdout or ""


if __name__ == "__main__":
    main()
