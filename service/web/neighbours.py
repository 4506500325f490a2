"""Without keys everybody on this machine is trusted, and so would be each page in its browser.

A page of another site reaches a port of this machine in two ways: it sends a form or a simple
request to http://localhost:8000 (cross-site request forgery), or it lets its own name lead here
(DNS rebinding), and then reads the answers, too. Against the first counts where the browser says
that a request comes from, against the second the name that it asked for.
"""

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from service.settings import Settings
from service.web.answers import ProblemAnswer

__all__ = ["Neighbours", "is_loopback"]

READING = ("GET", "HEAD", "OPTIONS")
ELSEWHERE = ("cross-site", "same-site")
"""Values of Sec-Fetch-Site; "same-site" is another port of this machine."""


class Neighbours:
    """ASGI around an application that asks for no keys.

    `names`: hosts that it answers for besides those of this machine. `origins`: pages that may
    write although they are of another site, for example "http://localhost:5173".
    """

    def __init__(self, app: ASGIApp, names: Collection[str], origins: Collection[str]) -> None:
        self._app = app
        self._names = {name.lower() for name in names}
        self._origins = {origin.lower() for origin in origins}

    @classmethod
    def from_settings(cls, app: ASGIApp, settings: Settings) -> "Neighbours":
        """Those whom CORS lets read may write; all (`*`) may not."""
        public = urlsplit(settings.public_url or "")
        origins = {*settings.cors_origins} - {"*"}
        if public.hostname is None:
            return cls(app, {settings.host}, origins)
        own = f"{public.scheme}://{public.netloc}"
        return cls(app, {settings.host, public.hostname}, {*origins, own})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
            return
        slug, why = refusal
        request_id = scope.get("state", {}).get("request_id", "")
        answer = ProblemAnswer.from_slug(slug, why, instance=scope["path"], request_id=request_id)
        await answer(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[str, str] | None:
        hosts, origin, site = [], None, None
        for name, value in scope["headers"]:
            if name == b"host":
                hosts.append(value.decode("latin-1").lower())
            elif name == b"origin":
                origin = value.decode("latin-1").lower()
            elif name == b"sec-fetch-site":
                site = value.decode("latin-1").lower()
        if not all(self._is_ours(host) for host in hosts):
            return "misdirected", (
                "without keys this service answers for this machine's own names only; ask for "
                "localhost, or set WSI_PUBLIC_URL to the address that clients use"
            )
        if scope["method"] not in READING and self._is_foreign(hosts, origin, site):
            return "not-allowed", (
                "a page of another site may not write here; name its origin in WSI_CORS_ORIGINS"
            )
        return None

    def _is_ours(self, host: str) -> bool:
        name = name_of(host)
        return name is not None and (name in self._names or is_loopback(name))

    def _is_foreign(self, hosts: list[str], origin: str | None, site: str | None) -> bool:
        if origin is None:
            return site in ELSEWHERE
        return origin not in self._origins and urlsplit_host(origin) not in hosts


def is_loopback(host: str) -> bool:
    """Whether a name or address means this machine and no other."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def name_of(host: str) -> str | None:
    """A Host field without its port; None where it is none."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def urlsplit_host(origin: str) -> str | None:
    """`localhost:8000` of an origin; None of "null" and the like."""
    try:
        return urlsplit(origin).netloc or None
    except ValueError:
        return None
