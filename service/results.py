"""One folder a slide: complete under its name, or `*.partial` and resumable."""

import hashlib
import json
import os
import shutil
from collections.abc import Container, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsi.cores import usable_cores
from wsi.errors import ResultExists, StoreIncomplete
from wsi.store.folder import name_file, partial_path, publish
from wsi.store.journal import FolderLock

__all__ = [
    "MANIFEST",
    "MANIFEST_SCHEMA",
    "MASK_IMAGE",
    "RUN",
    "SCORES",
    "ResultFolder",
    "canonical_json",
    "object_hashes",
    "work_sha256",
]

MANIFEST = "manifest.json"  # what the work determines; equal work gives equal bytes
MANIFEST_SCHEMA = 1
RUN = "run.json"  # when, how long, on what; outside every hash
SCORES = "scores.zarr"
MASK_IMAGE = "mask.png"  # 0 or 255; can be given back as --mask
WORK = ".work"  # sha256 of the work that a partial folder is about


def canonical_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def work_sha256(work: Mapping[str, Any]) -> str:
    """Names a piece of work by everything that determines its result."""
    return hashlib.sha256(canonical_json(work).encode()).hexdigest()


def object_hashes(folder: Path) -> dict[str, dict[str, Any]]:
    """sha256 and size_bytes of every file below a folder, by its relative POSIX path."""
    hidden = (WORK, MANIFEST, RUN)
    found = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    names = sorted(name for name in found if name not in hidden)
    with ThreadPoolExecutor(min(4, usable_cores()), "sha256") as pool:
        return dict(zip(names, pool.map(_object, (found[name] for name in names)), strict=True))


@dataclass(frozen=True)
class ResultFolder:
    """Where one slide's result is, or will be."""

    path: Path

    @property
    def partial(self) -> Path:
        return partial_path(self.path)

    def manifest(self) -> dict[str, Any] | None:
        """The manifest of a complete result; None where there is none."""
        try:
            text = (self.path / MANIFEST).read_text(encoding="utf-8")
            manifest = json.loads(text)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, RecursionError) as error:
            raise self._damage(str(error)) from error
        if not isinstance(manifest, dict):
            raise self._damage("it is no JSON object")
        for name, kind in (("work_sha256", str), ("outputs", dict)):
            if not isinstance(manifest.get(name), kind):
                raise self._damage(f"it has no {name}")
        return manifest

    def holds(self, work: Mapping[str, Any]) -> bool:
        """Whether the complete result of exactly this work is here. Raises StoreIncomplete where it
        is, and a file of it is damaged or missing."""
        manifest = self.manifest()
        if manifest is None or manifest["work_sha256"] != work_sha256(work):
            return False
        self.require_whole(manifest["outputs"])
        return True

    def require_whole(
        self, outputs: Mapping[str, Any], below: Container[str] | None = None
    ) -> None:
        """Whether files are still what the manifest's `outputs` say; `below`: only those names in
        the folder. Raises StoreIncomplete, which names the first that is not.

        26 files of 5 MB took 48 ms on two busy cores.
        """
        wanted = [name for name in outputs if below is None or name.split("/")[0] in below]
        with ThreadPoolExecutor(min(4, usable_cores()), "sha256") as pool:
            wrong = pool.map(lambda name: _damage_of(self.path / name, outputs[name]), wanted)
            for name, why in zip(wanted, wrong, strict=True):
                if why:
                    raise StoreIncomplete(
                        f"{self.path / name}: it {why} since the result was made; make the result "
                        "again with `wsi heatmap --overwrite`, or copy it from where it is whole"
                    )

    def require_free(self, *, overwrite: bool) -> None:
        """Raises ResultExists where something has the name that may not be replaced.

        Only a result gives way: never a slide in an --out that is its own folder, nor files that
        somebody put there.
        """
        if not os.path.lexists(self.path) or _is_empty_folder(self.path):
            return
        if not (self.path / MANIFEST).is_file():
            raise ResultExists(
                f"{self.path}: it is there, and it is no result of this program; "
                "use another --out, or move it away"
            )
        if not overwrite:
            raise ResultExists(
                f"{self.path}: a different result is there; "
                "use --overwrite to replace it, or another --out"
            )

    @contextmanager
    def writing(self, work: Mapping[str, Any], *, overwrite: bool) -> Iterator[Path]:
        """The partial folder, locked: what an equal work left there is still there.

        Raises ResultExists; StoreLocked where another process is writing it.
        """
        self.require_free(overwrite=overwrite)
        with FolderLock(self.partial):
            _clear_unless(self.partial, work_sha256(work))
            try:
                yield self.partial
            except OSError as error:
                name_file(error, self.partial)
                raise

    def publish(self, manifest: Mapping[str, Any], run: Mapping[str, Any]) -> None:
        """Writes both records, flushes every file, and renames the partial folder into place."""
        for name, record in ((MANIFEST, manifest), (RUN, run)):
            text = json.dumps(record, indent=1, sort_keys=True, allow_nan=False)
            (self.partial / name).write_text(text + "\n", encoding="utf-8")
        publish(self.partial, self.path, overwrite=True)
        (self.path / WORK).unlink(missing_ok=True)

    def _damage(self, why: str) -> StoreIncomplete:
        return StoreIncomplete(
            f"{self.path / MANIFEST}: not a manifest ({why}); use --overwrite to redo it"
        )


def _object(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    return {"sha256": digest.hexdigest(), "size_bytes": path.stat().st_size}


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _damage_of(path: Path, entry: Any) -> str | None:
    """What became of a file, where it is not as `entry` of the manifest says."""
    if not path.is_file():
        return "went missing"
    return None if _object(path) == entry else "was changed or damaged"


def _clear_unless(partial: Path, work: str) -> None:
    """Throws away what another work left in the partial folder."""
    marker = partial / WORK
    if marker.is_file() and marker.read_text(encoding="utf-8") == work:
        return
    for entry in partial.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    marker.write_text(work, encoding="utf-8")
