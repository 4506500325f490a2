import os
from pathlib import Path

import pytest

from models.datasets import memory

MIB = 1 << 20


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With 100 MiB available, and no container."""
    (tmp_path / "meminfo").write_text(
        "MemTotal: 409600 kB\nMemFree: 20480 kB\nMemAvailable: 102400 kB\n"
    )
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CONTAINER", tmp_path)
    return tmp_path


def limit(folder: Path, most: str, used: int, files: int = 0) -> None:
    (folder / "memory.max").write_text(f"{most}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\nfile {files}\nfile_mapped 7\n")


def test_what_the_machine_has_available_is_free(machine: Path):
    assert memory.free_bytes() == 100 * MIB


def test_a_container_leaves_what_its_limit_leaves_and_what_it_keeps_of_files(machine: Path):
    limit(machine, str(60 * MIB), used=50 * MIB, files=20 * MIB)
    assert memory.free_bytes() == 30 * MIB


def test_a_container_without_a_limit_has_what_the_machine_has(machine: Path):
    limit(machine, "max", used=50 * MIB)
    assert memory.free_bytes() == 100 * MIB


def test_where_nobody_tells_it_is_half_of_the_machine(machine: Path):
    (machine / "meminfo").unlink()
    assert memory.free_bytes() == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
