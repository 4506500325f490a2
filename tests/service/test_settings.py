"""Settings out of the environment."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings import Settings


def test_the_environment_sets_what_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSI_DATA", "/srv/wsi")
    monkeypatch.setenv("WSI_LEASE_S", "5")
    monkeypatch.setenv("WSI_AUTH", "keys, jwt")
    monkeypatch.setenv("WSI_SLIDE_ROOTS", "/slides/a,/slides/b")
    settings = Settings()
    assert settings.data == Path("/srv/wsi")
    assert settings.lease_s == 5
    assert settings.auth == ("keys", "jwt")
    assert settings.slide_roots == (Path("/slides/a"), Path("/slides/b"))


def test_a_database_of_its_own_is_the_default(tmp_path: Path) -> None:
    assert Settings(data=tmp_path).database == f"sqlite:///{tmp_path}/wsi.sqlite3"
    assert Settings(database_url="postgresql://db/wsi").database == "postgresql://db/wsi"


def test_a_way_in_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSI_AUTH", "passwords")
    with pytest.raises(ValidationError, match="keys"):
        Settings()
