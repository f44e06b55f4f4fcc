"""Addresses of webhooks: which one is ours, whether two are the same, and what may be shown of one. Pure."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from relay.options import Unfit
from relay.sensitive import CONCEALED

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_PORTS = {"https": 443, "http": 80}
_GUESSABLE = 11
"""Letters and digits mixed, and longer than this, make a part of a path that was drawn at random."""
_LONGEST_WORD = 24
_RANDOM = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z]).*", re.DOTALL)


def web_address(url: str, *, what: str = "") -> str:
    """The same text, if it is one that may be sent to: HTTPS, or plain HTTP to this machine.

    The error never repeats it: an address may hold what nobody should see. `what` says why HTTPS is needed.
    """
    parts = _split(url)
    if parts is None or parts.scheme not in _PORTS or not _is_plain(url):
        raise Unfit("is not a URL; write `https://host`")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        why = f": it {what}" if what else ""
        raise Unfit(f"must start with https://{why}; plain http is for loopback")
    if "@" in parts.netloc or "?" in url or "#" in url:
        raise Unfit("must hold no user, password, query or fragment; a path may hold an unguessable part")
    return url


def public_address(base: str, path: str) -> str:
    """Where the sender reaches a source: its path at the base, unless the base has a path of its own."""
    return base.rstrip("/") + path if urlsplit(base).path in ("", "/") else base


def same_address(one: str, other: str) -> bool:
    """Whether two texts are one address, though they differ in case, default port or fragment."""
    return _normal(one) == _normal(other)


def same_host(one: str, other: str) -> bool:
    """Whether two addresses are at one host and port."""
    return _normal(one)[:3] == _normal(other)[:3]


def safe_address(url: str) -> str:
    """The address without what may be a secret in it: user, query, parts of the path that nobody would guess."""
    parts = _split(url)
    if parts is None or parts.scheme not in _PORTS:
        return CONCEALED
    segments = (CONCEALED if _is_unguessable(segment) else segment for segment in parts.path.split("/"))
    user = f"{CONCEALED}@" if "@" in parts.netloc else ""
    query = f"?{CONCEALED}" if parts.query else ""
    return f"{parts.scheme}://{user}{parts.netloc.rpartition('@')[2]}{'/'.join(segments)}{query}"


def _is_unguessable(segment: str) -> bool:
    return len(segment) > _LONGEST_WORD or (len(segment) > _GUESSABLE and _RANDOM.fullmatch(segment) is not None)


def _normal(url: str) -> tuple[str, ...]:
    """What two forms of one address have in common. A slash more at the end of a path is another path."""
    parts = _split(url)
    if parts is None:
        return (url,)
    port = parts.port or _PORTS.get(parts.scheme)
    return (parts.scheme, (parts.hostname or "").rstrip("."), str(port), parts.path or "/", parts.query)


def _split(url: str) -> SplitResult | None:
    """The parts of an address that has a host. `scheme` and `hostname` come in lower case."""
    try:
        parts = urlsplit(url)
        return parts if parts.hostname and (parts.port is None or parts.port > 0) else None
    except ValueError:
        return None


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text
