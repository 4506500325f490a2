"""The bound of the reliability report, against its formula and its definition."""

import json
from pathlib import Path

import pytest
from scipy.stats import binom

from tests.reliability.report import bound, report


def test_no_failure_gives_the_rule_of_three() -> None:
    assert bound(200, 0) == pytest.approx(1 - 0.05 ** (1 / 200))
    assert bound(200, 0) == pytest.approx(3 / 200, rel=0.01)


def test_at_the_bound_so_few_failures_have_a_chance_of_5_percent() -> None:
    assert binom.cdf(3, 100, bound(100, 3)) == pytest.approx(0.05)


def test_nothing_but_failures_bounds_nothing() -> None:
    assert bound(5, 5) == 1.0
    assert bound(0, 0) == 1.0


def test_reports_follow_each_other_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WSI_RELIABILITY_OUT", str(tmp_path))
    monkeypatch.setattr("tests.reliability.report.LINES", [])

    report("R0", 20, 1, claims_per_s=700)
    report("R0", 10, 0)

    first, second = json.loads((tmp_path / "reliability.json").read_text())
    assert (first["trials"], first["failures"], first["claims_per_s"]) == (20, 1, 700)
    assert second["trials"] == 10
    assert "id=R0 trials=20 failures=1" in capsys.readouterr().out
