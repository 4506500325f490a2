"""wsi keys."""

import json
from pathlib import Path

import pytest

from service.access.keys import ApiKeys
from service.database import open_database
from service.settings import Settings
from tests.service.test_cli import wsi


def test_a_key_is_made_listed_and_revoked(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "wsi"))
    made = wsi("keys", "create", "--tenant", "clinic", "--read-only", *data, "--json")
    key = json.loads(made.stdout)
    keys = ApiKeys(open_database(Settings(data=tmp_path / "wsi").database))
    assert keys.principal(key["key"]).tenant == "clinic"
    listed = wsi("keys", "list", *data)
    assert key["id"] in listed.stdout
    assert key["key"] not in listed.stdout
    assert wsi("keys", "revoke", key["id"], *data).returncode == 0
    assert "revoked" in wsi("keys", "list", *data).stdout


def test_a_key_has_a_quota_of_its_own(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "wsi"))
    made = wsi("keys", "create", "--tenant", "clinic", "--quota", "2GiB", *data, "--json")
    assert json.loads(made.stdout)["quota_bytes"] == 2 * 1024**3
    assert "at most 2147483648 bytes" in wsi("keys", "list", *data).stdout


def test_a_quota_that_is_no_size_makes_no_key(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "wsi"))
    done = wsi("keys", "create", "--tenant", "clinic", "--quota", "much", *data)
    assert done.returncode != 0
    assert "quota 'much': use a size like 500MB or 2GiB" in done.stderr
    assert wsi("keys", "list", *data).stdout == ""


@pytest.mark.parametrize("command", [("keys", "list"), ("gc",)])
def test_a_wrong_setting_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("WSI_PORT", "many")
    done = wsi(*command, "--data", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("error: a setting (WSI_…) has a value that it cannot have")
    assert "Traceback" not in done.stderr


def test_an_unknown_key_cannot_be_revoked(tmp_path: Path) -> None:
    done = wsi("keys", "revoke", "key_1", "--data", str(tmp_path))
    assert done.returncode == 1
    assert "key_1" in done.stderr
