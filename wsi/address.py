"""A slide's address on a network: what may be said of it, and which part of it is a credential."""

import hashlib
import re
from collections.abc import Iterator
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from wsi.errors import SlideNotFound

__all__ = [
    "check_address",
    "hide_secrets",
    "malformed",
    "public_path",
    "public_url",
    "query_sha256",
]

WEB = ("http", "https")

CHAINED = re.compile(r"::(?=[\w.+-]+(?:::|://))")
"""Between the links of an address like simplecache::s3://bucket/a.svs, which fsspec knows."""

SIGNING_PREFIXES = ("x-amz-", "x-goog-", "x-oss-")
SIGNING = {
    "access_token", "awsaccesskeyid", "expires", "googleaccessid", "hash-algorithm", "jwt",
    "key-pair-id", "ossaccesskeyid", "policy", "security-token", "sig", "signature", "token",
}  # fmt: skip
AZURE_SIGNING = {
    "saoid", "scid", "sdd", "se", "ses", "si", "sip", "ske", "skoid", "sks", "skt", "sktid", "skv",
    "sp", "spr", "sr", "srt", "ss", "st", "suoid", "sv",
}  # fmt: skip
"""Of a shared access signature; beside a `sig` only, for elsewhere such short names may be ids."""

LONG = 6  # characters: no word that a sentence needs would be taken for so long a secret


def check_address(url: str) -> None:
    """Raises SlideNotFound where the address is malformed; the sentence tells none of it that may
    be a password."""
    for link in _links(url):
        parts = _split(link)
        if parts is None or (parts.scheme in WEB and not parts.hostname):
            raise malformed(url)


def malformed(url: str) -> SlideNotFound:
    return SlideNotFound(
        f"{public_url(url)}: the address is malformed; check host and port, and write "
        "# ? / @ : [ ] in a user or password as %23 %3F %2F %40 %3A %5B %5D"
    )


def public_path(path: str) -> str:
    """A slide's address without secrets; the path of a local one as it is."""
    return public_url(path) if "://" in path else path


def public_url(url: str) -> str:
    """Without user, password, query and fragment; of a malformed one no more than its kind and the
    file's name, for what looks like a host may be half of a password. Never raises."""
    return "::".join(map(_public_link, CHAINED.split(url)))


def hide_secrets(text: str, path: str) -> str:
    """A sentence about a slide, its address as of public_path() and its credentials as dots:
    libraries quote parts of it."""
    if "://" not in path:
        return text
    text = text.replace(path, public_path(path))
    for secret in sorted({*_secrets(path)}, key=len, reverse=True):
        is_long = len(secret) >= LONG
        found = re.escape(secret) if is_long else rf"(?<!\w){re.escape(secret)}(?!\w)"
        text = re.sub(found, "…", text)
    return text


def query_sha256(url: str) -> str | None:
    """Of what the query says besides signatures, which differ from day to day: with the address it
    says which file is meant. None where it says nothing else."""
    parts = _split(url)
    if parts is None:
        return None
    pairs = parse_qsl(parts.query, keep_blank_values=True, errors="surrogateescape")
    names = {name.lower() for name, _ in pairs}
    signing = SIGNING | AZURE_SIGNING if "sig" in names else SIGNING
    said = [
        (name, value)
        for name, value in pairs
        if name.lower() not in signing and not name.lower().startswith(SIGNING_PREFIXES)
    ]
    if parts.fragment and parts.scheme not in WEB:  # part of an object's name
        said.append(("#", parts.fragment))
    text = urlencode(sorted(said), errors="surrogateescape")
    return hashlib.sha256(text.encode()).hexdigest() if said else None


def _links(url: str) -> Iterator[str]:
    return (link for link in CHAINED.split(url) if "://" in link)


def _split(url: str) -> SplitResult | None:
    """None where it is malformed."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - half of a password is no port
    except ValueError:
        return None
    # a # in a password is taken for the end of the host
    is_cut = parts.scheme in WEB and "@" not in parts.netloc and "@" in parts.fragment
    return parts if parts.scheme and not is_cut else None


def _public_link(url: str) -> str:
    if "://" not in url:
        return url
    parts = _split(url)
    if parts is None:
        return _hidden(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def _hidden(url: str) -> str:
    """Its kind, and the file's name where that is surely no part of a password."""
    scheme, _, rest = url.partition("://")
    address, *more = re.split("[?#]", rest, maxsplit=1)
    host, _, name = address.rpartition("/")
    is_plain = host and not set("@:[]") & set(name) and "@" not in "".join(more)
    return f"{scheme}://…/{name if is_plain else ''}"


def _secrets(url: str) -> Iterator[str]:
    """As they are written, decoded and encoded."""
    for parts in filter(None, map(_split, _links(url))):
        user = parts.netloc.rpartition("@")[0]
        query = parts.query if len(parts.query) >= LONG else ""
        for secret in filter(None, (user, user.partition(":")[2], query)):
            plain = unquote(secret)
            yield from (secret, plain, quote(plain, safe=""))
