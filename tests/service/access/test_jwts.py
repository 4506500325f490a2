"""JSON Web Tokens of an identity provider."""

import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from jwt.algorithms import ECAlgorithm

from service.access.auth import Principal
from service.access.jwts import JwtVerifier
from service.errors import Busy, InvalidRequest, NotAuthenticated

KEY = generate_private_key(SECP256R1())
OTHER_KEY = generate_private_key(SECP256R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)


@pytest.fixture
def verifier(tmp_path: Path) -> JwtVerifier:
    public = json.loads(ECAlgorithm.to_jwk(KEY.public_key()))
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [public | {"kid": "k1", "use": "sig", "alg": "ES256"}]}))
    return JwtVerifier(issuer="https://id", audience="wsi", jwks_file=file)


def make_token(key: Any = KEY, kid: str = "k1", algorithm: str = "ES256", **claims: Any) -> str:
    known = {"iss": "https://id", "aud": "wsi", "sub": "ada", "exp": time.time() + 86_400}
    kept = {name: value for name, value in (known | claims).items() if value is not None}
    return jwt.encode(kept, key, algorithm=algorithm, headers={"kid": kid})


def test_a_token_of_the_issuer_opens_its_tenant(verifier: JwtVerifier) -> None:
    assert verifier.principal(make_token()) == Principal(
        "jwt:ada", None, frozenset({"read", "write"})
    )


def test_a_scope_narrows_what_a_token_may_do(verifier: JwtVerifier) -> None:
    assert verifier.principal(make_token(scope="read openid")).scopes == {"read"}
    assert verifier.principal(make_token(scope="openid")).scopes == frozenset()


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (make_token(exp=1_000_000_000), "expired"),
        (make_token(exp=None), "missing"),
        (make_token(iss="https://evil"), "issuer"),
        (make_token(aud="mail"), "audience"),
        (make_token(sub=None), "missing"),
        (make_token(sub=""), "no name"),
        (make_token(sub="a" * 197), "no name"),
        (make_token(key=OTHER_KEY), "signature"),
        (make_token(kid="k2"), "malformed"),
        (make_token(key="s" * 64, algorithm="HS256"), "malformed"),
        (make_token(key=RSA_KEY, algorithm="RS256"), "malformed"),  # of another kind than k1
        (jwt.encode({"sub": "ada"}, None, algorithm="none", headers={"kid": "k1"}), "malformed"),
        ("", "malformed"),
        ("a.b.c", "malformed"),
    ],
)
def test_any_other_token_opens_nothing(verifier: JwtVerifier, token: str, why: str) -> None:
    with pytest.raises(NotAuthenticated, match=why):
        verifier.principal(token)


def test_a_provider_that_is_away_is_no_wrong_token() -> None:
    nobody = JwtVerifier(issuer="https://id", audience="wsi", jwks_url="https://127.0.0.1:1/keys")
    with pytest.raises(Busy, match="does not answer"):
        nobody.principal(make_token())


def test_keys_come_from_one_place_and_safely(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="either"):
        JwtVerifier(issuer="i", audience="a")
    with pytest.raises(InvalidRequest, match="https"):
        JwtVerifier(issuer="i", audience="a", jwks_url="http://id/keys")
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(InvalidRequest, match=r"bad\.json"):
        JwtVerifier(issuer="i", audience="a", jwks_file=tmp_path / "bad.json")
