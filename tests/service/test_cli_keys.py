"""wsi keys."""

import json
from pathlib import Path

import pytest

from service.access.keys import ApiKeys
from service.database import api_keys, open_database
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
    assert wsi("keys", "create", "--tenant", "clinic", "--data", str(tmp_path)).returncode == 0
    done = wsi("keys", "revoke", "key_1", "--data", str(tmp_path))
    assert done.returncode == 1
    assert "key_1" in done.stderr


@pytest.mark.parametrize("days", ["1e300", "1e308", "nan", "inf", "36501"])
def test_a_key_ends_within_a_hundred_years_or_never(tmp_path: Path, days: str) -> None:
    data = ("--data", str(tmp_path / "wsi"))
    done = wsi("keys", "create", "--tenant", "clinic", "--days", days, *data)
    assert done.returncode in (1, 2)
    assert days == "nan" or "days: use 0 to 36500" in done.stderr
    assert wsi("keys", "create", "--tenant", "clinic", "--days", "36500", *data).returncode == 0
    assert len(wsi("keys", "list", *data).stdout.splitlines()) == 1


@pytest.mark.parametrize("at", [8.64e304, float("inf"), -1e20])
def test_keys_of_an_odd_row_are_listed_and_revoked(tmp_path: Path, at: float) -> None:
    data = ("--data", str(tmp_path / "wsi"))
    key = json.loads(wsi("keys", "create", "--tenant", "clinic", *data, "--json").stdout)["id"]
    engine = open_database(Settings(data=tmp_path / "wsi").database)
    with engine.begin() as connection:
        connection.execute(api_keys.update().values(expires_at=at))
    assert f"no date ({at:g})" in wsi("keys", "list", *data).stdout
    assert f"no date ({at:g})" in wsi("keys", "list", *data, "--json").stdout
    assert wsi("keys", "revoke", key, *data).returncode == 0


@pytest.mark.parametrize(
    "command", [("keys", "list"), ("keys", "revoke", "key_1"), ("gc",), ("worker", "--check")]
)
@pytest.mark.parametrize("name", ["nowhere", "folder", "file"])
def test_who_asks_a_service_that_is_not_there_makes_none(
    tmp_path: Path, command: tuple[str, ...], name: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("a slide")
    done = wsi(*command, "--data", tmp_path / name)
    assert done.returncode == 1
    assert f"no service's data in {tmp_path / name}; name its folder by --data" in done.stderr
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]


@pytest.mark.parametrize("command", [("keys", "create", "--tenant", "a"), ("serve",), ("worker",)])
def test_a_file_as_data_folder_is_named_with_its_option(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "file").write_text("a slide")
    done = wsi(*command, "--data", tmp_path / "file")
    assert done.returncode == 1
    assert "a file is where a folder is needed; use another --data" in done.stderr
