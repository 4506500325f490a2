"""Tokens that open one thing for a while."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.access.auth import Principal
from service.access.tokens import Tokens, read_secret
from service.errors import NotAuthenticated
from service.ids import new_id

RESULT = "res_01JD0000000000000000000000"
OTHER = "res_01JD0000000000000000000001"


def test_a_token_opens_its_result_for_reading() -> None:
    tokens = Tokens(b"s" * 32, 60, lambda: 1000.0)
    token, expires = tokens.create("clinic, Süd", RESULT)
    assert tokens.principal(token, RESULT) == Principal("clinic, Süd", None, frozenset({"read"}))
    assert expires == 1060


def test_a_token_opens_nothing_else() -> None:
    tokens = Tokens(b"s" * 32, 60, lambda: 1000.0)
    token, _ = tokens.create("clinic", RESULT)
    with pytest.raises(NotAuthenticated):
        tokens.principal(token, OTHER)


def test_a_token_ends() -> None:
    now = 1000.0
    tokens = Tokens(b"s" * 32, 60, lambda: now)
    token, _ = tokens.create("clinic", RESULT)
    now = 1060.0
    with pytest.raises(NotAuthenticated):
        tokens.principal(token, RESULT)


def test_a_token_of_another_secret_opens_nothing() -> None:
    token, _ = Tokens(b"a" * 32, 60).create("clinic", RESULT)
    with pytest.raises(NotAuthenticated):
        Tokens(b"b" * 32, 60).principal(token, RESULT)


def test_no_character_of_a_token_can_be_changed() -> None:
    tokens = Tokens(b"s" * 32, 60, lambda: 1000.0)
    token, _ = tokens.create("clinic", RESULT)
    for i, old in enumerate(token[:-1]):  # the last one also holds bits that say nothing
        forged = token[:i] + ("A" if old != "A" else "B") + token[i + 1 :]
        with pytest.raises(NotAuthenticated):
            tokens.principal(forged, RESULT)


@pytest.mark.parametrize(
    "token", ["", ".", "..", "1.2", "9999999999..", "x.y.z", "9e9.YQ.YQ", "ü.ü.ü"]
)
def test_what_is_no_token_opens_nothing(token: str) -> None:
    with pytest.raises(NotAuthenticated):
        Tokens(b"s" * 32, 60).principal(token, RESULT)


def test_the_secret_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "secrets" / "token.key"
    with ThreadPoolExecutor(8) as pool:
        secrets = list(pool.map(lambda _: read_secret(file), range(32)))
    assert len(set(secrets)) == 1
    assert len(secrets[0]) == 32
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [entry.name for entry in file.parent.iterdir()] == ["token.key"]


def test_ids_sort_by_the_time_they_were_made() -> None:
    made = [new_id("job", now) for now in (1.0, 1.5, 1700000000.0)]
    assert made == sorted(made)
    assert len({new_id("job", 5.0) for _ in range(1000)}) == 1000
