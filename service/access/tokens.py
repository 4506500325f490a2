"""Tokens that open one result or one slide for reading, for a while: for `<img>` and the like."""

import base64
import hashlib
import hmac
import os
import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from service.access.auth import Principal
from service.errors import NotAuthenticated
from service.ids import ID_PATTERN

__all__ = ["Tokens", "read_secret"]

SECRET_BYTES = 32


def read_secret(file: Path) -> bytes:
    """The secret in a file that only its owner may read; made when it is not there.

    Several processes may ask at once: all get the same.
    """
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    own = file.with_name(f"{file.name}.{os.getpid()}.{secrets.token_hex(4)}.partial")
    descriptor = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(secrets.token_bytes(SECRET_BYTES))
            opened.flush()
            os.fsync(opened.fileno())
        os.link(own, file)  # fails where another process was first, and then its secret counts
    except FileExistsError:
        pass
    finally:
        own.unlink()
    return file.read_bytes()


class Tokens:
    """`<expiry>.<tenant>.<HMAC-SHA256>`, each in base64url: nothing is kept on the server."""

    def __init__(
        self, secret: bytes, lifetime_s: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._secret = secret
        self._lifetime_s = lifetime_s
        self._clock = clock

    def create(self, tenant: str, thing_id: str) -> tuple[str, float]:
        """A token for one result or slide (its id), and when it ends, Unix seconds."""
        assert re.match(ID_PATTERN, thing_id), thing_id
        expires = int(self._clock() + self._lifetime_s)
        head = f"{expires}.{_encode(tenant.encode())}"
        return f"{head}.{_encode(self._sign(head, thing_id))}", expires

    def principal(self, token: str, thing_id: str) -> Principal:
        """The tenant, who may read this one thing. Raises NotAuthenticated."""
        expires, tenant, signature = _parts(token)
        good = hmac.compare_digest(signature, self._sign(token.rpartition(".")[0], thing_id))
        if not good or expires <= self._clock():
            raise NotAuthenticated("the token is wrong, expired, or of another result")
        return Principal(tenant, None, frozenset({"read"}))

    def _sign(self, head: str, thing_id: str) -> bytes:
        return hmac.digest(self._secret, f"{head}.{thing_id}".encode(), hashlib.sha256)


def _parts(token: str) -> tuple[int, str, bytes]:
    try:
        expires, tenant, signature = token.split(".")
        return int(expires), _decode(tenant).decode(), _decode(signature)
    except ValueError as error:  # of split, int, base64 and UTF-8 alike
        raise NotAuthenticated("the token is wrong, expired, or of another result") from error


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
