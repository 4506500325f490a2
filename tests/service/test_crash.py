"""Killed wherever it touches the disk, the service starts again with whole slides and no rest."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

POINTS = {"store_file": 35, "store_archive": 40, "delete_slide": 5, "delete_result": 5}
"""At least so many ends must have been tried."""


@pytest.mark.parametrize(
    "scenario",
    [
        "store_file",
        pytest.param("store_archive", marks=pytest.mark.slow),
        "delete_slide",
        "delete_result",
    ],
)
def test_a_kill_at_any_point_leaves_nothing_that_cleaning_does_not_remove(
    tmp_path: Path, scenario: str
):
    command = [sys.executable, "-m", "tests.service.crashing", str(tmp_path / "data"), scenario]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    ends = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(ends) > POINTS[scenario]
    assert ends[-1]["point"] is None
    assert [end for end in ends if end["loose"] or end["damaged"]] == []
    assert sum(end["cleared"] for end in ends) > 0
