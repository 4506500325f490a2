"""From a request to whoever sent it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import Engine

from service.access.auth import LOCAL
from service.access.authentication import Authenticator, open_tokens
from service.access.keys import ApiKeys
from service.database import open_database, upgrade
from service.errors import InvalidRequest, NotAuthenticated, TooManyRequests
from service.settings import Settings

RESULT = "res_01JD0000000000000000000000"


@dataclass
class Request:
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    query_params: dict[str, str] = field(default_factory=dict)
    path_params: dict[str, str] = field(default_factory=dict)


def bearer(secret: str) -> Request:
    return Request(headers={"authorization": f"Bearer {secret}"})


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = open_database(Settings(data=tmp_path).database)
    upgrade(engine)
    return engine


def make_settings(tmp_path: Path, **options: object) -> Settings:
    return Settings.model_validate({"data": tmp_path, "auth": ["keys"], **options})


def make_authenticator(
    settings: Settings, engine: Engine, clock: Callable[[], float] = time.time
) -> Authenticator:
    return Authenticator(settings, engine, open_tokens(settings, clock), clock)


def test_without_authentication_everybody_is_local(tmp_path: Path, engine: Engine) -> None:
    assert make_authenticator(Settings(data=tmp_path), engine)(bearer("anything")) == LOCAL


def test_a_key_names_its_tenant(tmp_path: Path, engine: Engine) -> None:
    _, secret = ApiKeys(engine).create("clinic", "viewer")
    assert make_authenticator(make_settings(tmp_path), engine)(bearer(secret)).tenant == "clinic"


@pytest.mark.parametrize(
    "request_",
    [
        Request(),
        bearer(""),
        bearer("wsi_x"),
        Request(headers={"authorization": "Basic YTpi"}),
        Request(query_params={"tk": "1.2.3"}, path_params={"result_id": RESULT}),
    ],
)
def test_whoever_shows_nothing_good_stays_outside(
    tmp_path: Path, engine: Engine, request_: Request
) -> None:
    with pytest.raises(NotAuthenticated):
        make_authenticator(make_settings(tmp_path), engine)(request_)


def test_a_revoked_key_ends_within_seconds(tmp_path: Path, engine: Engine) -> None:
    now = 1000.0
    keys = ApiKeys(engine, lambda: now)
    authenticate = make_authenticator(make_settings(tmp_path), engine, lambda: now)
    key, secret = keys.create("clinic", "viewer")
    authenticate(bearer(secret))
    keys.revoke(key.id)
    now = 1005.1
    with pytest.raises(NotAuthenticated):
        authenticate(bearer(secret))


def test_a_token_reads_one_result_and_writes_nothing(tmp_path: Path, engine: Engine) -> None:
    settings = make_settings(tmp_path)
    authenticate = make_authenticator(settings, engine)
    token, _ = open_tokens(settings).create("clinic", RESULT)
    asked = Request(query_params={"tk": token}, path_params={"result_id": RESULT})
    assert authenticate(asked).scopes == {"read"}
    asked.path_params["result_id"] = RESULT[:-1] + "1"
    with pytest.raises(NotAuthenticated):
        authenticate(asked)
    writing = Request("DELETE", query_params={"tk": token}, path_params={"result_id": RESULT})
    with pytest.raises(NotAuthenticated):
        authenticate(writing)


@pytest.mark.usefixtures("half_past")
def test_a_tenant_over_its_limit_waits_but_sees_its_tiles(tmp_path: Path, engine: Engine) -> None:
    _, secret = ApiKeys(engine).create("clinic", "viewer")
    authenticate = make_authenticator(make_settings(tmp_path, requests_per_minute=1), engine)
    authenticate(bearer(secret))
    with pytest.raises(TooManyRequests):
        authenticate(bearer(secret))
    tile = bearer(secret)
    tile.path_params = {"result_id": RESULT, "z": "1"}
    assert authenticate(tile).tenant == "clinic"


def test_jwt_without_its_settings_is_refused(tmp_path: Path, engine: Engine) -> None:
    with pytest.raises(InvalidRequest, match="WSI_JWT_ISSUER"):
        make_authenticator(make_settings(tmp_path, auth=["jwt"]), engine)


def test_a_short_secret_is_refused(tmp_path: Path, engine: Engine) -> None:
    with pytest.raises(InvalidRequest, match="WSI_TOKEN_SECRET"):
        make_authenticator(make_settings(tmp_path, token_secret="short"), engine)
