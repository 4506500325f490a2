"""From a request to whoever sent it: by a key, an identity provider, or a token of one picture.

Off by default: then everybody who reaches the port is the tenant "local", and `wsi serve` binds to
this machine only.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from sqlalchemy import Engine

from service.access.auth import LOCAL, Principal
from service.access.jwts import JwtVerifier
from service.access.keys import PREFIX, ApiKeys
from service.access.limits import RequestLimit
from service.access.tokens import Tokens, read_secret
from service.errors import InvalidRequest, NotAuthenticated
from service.settings import Settings

__all__ = ["Authenticator", "open_tokens"]

KEPT_S = 5.0
"""How long a key that was good is not looked up again: a revoked one ends so much later."""

KEPT_KEYS = 1024

READING = ("GET", "HEAD")


class Asking(Protocol):
    """As much of a request as counts here; Starlette's has it."""

    @property
    def method(self) -> str: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def query_params(self) -> Mapping[str, str]: ...
    @property
    def path_params(self) -> Mapping[str, str]: ...


def open_tokens(settings: Settings, clock: Callable[[], float] = time.time) -> Tokens:
    """Signed with the secret of the settings, or the one in the data folder."""
    given = settings.token_secret
    secret = (
        given.get_secret_value().encode()
        if given is not None
        else read_secret(settings.data / "secrets" / "token.key")
    )
    if len(secret) < 32:
        raise InvalidRequest("WSI_TOKEN_SECRET is too short: use 32 characters or more")
    return Tokens(secret, settings.token_ttl_s, clock)


class Authenticator:
    """Called with each request before its body is read, in a thread: keys are looked up.

    Raises NotAuthenticated, TooManyRequests.
    """

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        tokens: Tokens,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._is_on = bool(settings.auth)
        self._clock = clock
        self._keys = ApiKeys(engine, clock) if "keys" in settings.auth else None
        self._jwts = _verifier(settings) if "jwt" in settings.auth else None
        self._tokens = tokens
        self._limit = RequestLimit(settings.requests_per_minute)
        self._kept: dict[bytes, tuple[float, Principal]] = {}

    def __call__(self, request: Asking) -> Principal:
        principal = self._principal(request) if self._is_on else LOCAL
        if not _is_tile(request):
            self._limit.count(principal.tenant)
        return principal

    def _principal(self, request: Asking) -> Principal:
        secret = _bearer(request.headers.get("authorization"))
        if secret is not None:
            return self._by_secret(secret)
        token = request.query_params.get("tk")
        thing = request.path_params.get("result_id") or request.path_params.get("slide_id")
        if token and thing and request.method in READING:
            return self._tokens.principal(token, thing)
        raise NotAuthenticated("send `Authorization: Bearer KEY`; `wsi keys create` makes a key")

    def _by_secret(self, secret: str) -> Principal:
        now, digest = self._clock(), hashlib.sha256(secret.encode()).digest()
        until, principal = self._kept.get(digest, (0.0, LOCAL))
        if now < until <= now + KEPT_S:
            return principal
        principal = self._look_up(secret)
        if len(self._kept) >= KEPT_KEYS:
            self._kept.clear()
        self._kept[digest] = now + KEPT_S, principal
        return principal

    def _look_up(self, secret: str) -> Principal:
        if self._keys is not None and secret.startswith(PREFIX):
            return self._keys.principal(secret)
        if self._jwts is not None:
            return self._jwts.principal(secret)
        raise NotAuthenticated("the API key is unknown, revoked or expired")


def _verifier(settings: Settings) -> JwtVerifier:
    if settings.jwt_issuer is None or settings.jwt_audience is None:
        raise InvalidRequest("JWT: set WSI_JWT_ISSUER and WSI_JWT_AUDIENCE too")
    return JwtVerifier(
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        jwks_url=settings.jwt_jwks_url,
        jwks_file=settings.jwt_jwks_file,
        tenant_claim=settings.jwt_tenant_claim,
    )


def _bearer(header: str | None) -> str | None:
    """What follows `Bearer `; another scheme is as good as none."""
    scheme, _, secret = (header or "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None


def _is_tile(request: Asking) -> bool:
    """A viewer asks for hundreds at once; they are limited by the cores that make them."""
    return any(name in request.path_params for name in ("column", "col", "z"))
