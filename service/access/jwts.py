"""JSON Web Tokens of an identity provider: who asks, by a signature that its keys verify."""

import json
from pathlib import Path
from typing import Any

import jwt

from service.access.auth import Principal
from service.errors import Busy, InvalidRequest, NotAuthenticated

__all__ = ["ALGORITHMS", "JwtVerifier"]

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
"""Signatures by a private key only: with a shared secret, who can verify can also sign."""

LEEWAY_S = 30  # clocks of two machines differ

MARK = "jwt:"
"""Before the tenant's name: it is never that of a tenant with API keys."""

MAX_TENANT = 200 - len(MARK)  # characters; the tables have 200


class JwtVerifier:
    """By a JSON Web Key Set, from a URL (kept for five minutes) or a file.

    issuer, audience: what the token has to say. tenant_claim: which claim names the tenant.
    Scopes are the words of `scope` that are known here; without `scope` a token may read and write.
    """

    def __init__(
        self,
        *,
        issuer: str,
        audience: str,
        jwks_url: str | None = None,
        jwks_file: Path | None = None,
        tenant_claim: str = "sub",
    ) -> None:
        if (jwks_url is None) == (jwks_file is None):
            raise InvalidRequest("JWT: set either WSI_JWT_JWKS_URL or WSI_JWT_JWKS_FILE")
        if jwks_url is not None and not jwks_url.startswith("https://"):
            raise InvalidRequest(f"WSI_JWT_JWKS_URL {jwks_url}: use an https:// address")
        self._client = jwt.PyJWKClient(jwks_url, timeout=10) if jwks_url else None
        self._keys = _read_keys(jwks_file) if jwks_file else None
        self._issuer, self._audience, self._tenant_claim = issuer, audience, tenant_claim

    def principal(self, token: str) -> Principal:
        """Whose token it is. Raises NotAuthenticated; Busy where the provider's keys cannot be had.

        PyJWT answers a key that is not of the token's algorithm with TypeError.
        """
        try:
            claims = jwt.decode(
                token,
                self._key(token),
                algorithms=list(ALGORITHMS),
                issuer=self._issuer,
                audience=self._audience,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iss", "aud", self._tenant_claim]},
            )
        except jwt.PyJWKClientConnectionError as error:
            raise Busy("the identity provider does not answer; send the request again") from error
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise NotAuthenticated(f"the token is not accepted ({_reason(error)})") from error
        return _principal(claims, self._tenant_claim)

    def _key(self, token: str) -> Any:
        if self._client is not None:
            return self._client.get_signing_key_from_jwt(token).key
        assert self._keys is not None
        wanted = jwt.get_unverified_header(token).get("kid")
        for key in self._keys.keys:
            if key.key_id == wanted:
                return key.key
        raise jwt.InvalidTokenError("no key of that id")


def _principal(claims: dict[str, Any], tenant_claim: str) -> Principal:
    tenant = claims[tenant_claim]
    is_text = isinstance(tenant, str) and tenant.isprintable()
    if not is_text or not 1 <= len(tenant) <= MAX_TENANT:
        raise NotAuthenticated(f"the token is not accepted (its {tenant_claim} is no name)")
    scope = claims.get("scope")
    words = {"read", "write"} if scope is None else set(str(scope).split())
    return Principal(MARK + tenant, None, frozenset(words & {"read", "write"}))


def _read_keys(file: Path) -> jwt.PyJWKSet:
    try:
        return jwt.PyJWKSet.from_dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError, jwt.PyJWTError) as error:
        raise InvalidRequest(f"WSI_JWT_JWKS_FILE {file}: no JSON Web Key Set ({error})") from error


def _reason(error: Exception) -> str:
    """Of PyJWT's own sentences; nothing of the token itself."""
    known = {
        jwt.ExpiredSignatureError: "it has expired",
        jwt.InvalidAudienceError: "it is for another audience",
        jwt.InvalidIssuerError: "it is of another issuer",
        jwt.InvalidSignatureError: "its signature is wrong",
        jwt.MissingRequiredClaimError: "a claim is missing",
        jwt.PyJWKClientError: "its key is not among the issuer's",
    }
    return next(
        (text for kind, text in known.items() if isinstance(error, kind)), "it is malformed"
    )
