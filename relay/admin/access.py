"""Who may use the API: a bearer token, or without one only loopback, asked for by a loopback name.

Without a token a web page in a browser on the same machine is the danger: it can post to 127.0.0.1, also under a name
of its own that it points there (DNS rebinding). So the host must be a loopback name, changes must be JSON, and whatever
says that it comes from another page is refused. There are no cookies, so nothing is sent along by itself.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import HttpVersion11, web

from relay.model import value
from relay.options import Secret

ATTEMPTS, WINDOW = 10, 60.0
"""So many wrong tokens from one address in so many seconds, and it has to wait."""
_MOST_ADDRESSES = 1000
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_OF_PROXIES = ("forwarded", "via", "x-real-ip", "x-forwarded-")
"""Headers of a request that somebody on this machine hands on for somebody else: how their names begin."""
_JSON = "application/json"


@value
class Refusal:
    """Why a request is turned away."""

    status: int
    detail: str


class Access:
    """The rule, and its memory of wrong tokens. `now` is monotonic seconds."""

    def __init__(self, token: Secret | None, *, now: Callable[[], float]) -> None:
        self._token = None if token is None else token.get_secret_value().encode()
        self._now = now
        self._wrong: OrderedDict[str, list[float]] = OrderedDict()

    def judge(self, request: web.BaseRequest) -> Refusal | None:
        """Whether this request may go on, and if not, why."""
        refusal = self._by_loopback(request) if self._token is None else self._by_token(request, self._token)
        return refusal or (None if request.method in ("GET", "HEAD") else _may_change(request))

    def _by_loopback(self, request: web.BaseRequest) -> Refusal | None:
        if not _is_loopback(request.remote or ""):
            return Refusal(status=403, detail="without admin.token the API answers only on loopback")
        if _hostname(request.headers.get("host", "")) not in _LOOPBACK_NAMES:
            return Refusal(status=403, detail="without admin.token the API is asked as 127.0.0.1 or localhost only")
        if _came_through_a_proxy(request):
            return Refusal(
                status=403, detail="this came through a proxy, so its sender may be anybody: set admin.token"
            )
        return None

    def _by_token(self, request: web.BaseRequest, token: bytes) -> Refusal | None:
        address = request.remote or ""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token):
            return None  # also during a lockout: behind a proxy all share one address
        if len(self._recent(address)) >= ATTEMPTS:
            return Refusal(status=429, detail="too many wrong tokens from your address; wait a minute")
        if scheme:
            self._remember(address)
        return Refusal(status=401, detail="give the token of admin.token as `Authorization: Bearer …`")

    def _recent(self, address: str) -> list[float]:
        since = self._now() - WINDOW
        recent = [moment for moment in self._wrong.get(address, []) if moment > since]
        if recent:
            self._wrong[address] = recent
        else:
            self._wrong.pop(address, None)
        return recent

    def _remember(self, address: str) -> None:
        self._wrong.setdefault(address, []).append(self._now())
        self._wrong.move_to_end(address)
        while len(self._wrong) > _MOST_ADDRESSES:
            self._wrong.popitem(last=False)


def _may_change(request: web.BaseRequest) -> Refusal | None:
    """A page of somebody else's can post a form, but no JSON, without being asked first."""
    if request.content_type != _JSON:
        return Refusal(status=415, detail="a change is JSON: send `Content-Type: application/json`")
    site = request.headers.get("sec-fetch-site", "none")
    if site not in ("none", "same-origin") or "origin" in request.headers:
        return Refusal(status=403, detail="a change does not come from a web page")
    return None


def _came_through_a_proxy(request: web.BaseRequest) -> bool:
    """Whether somebody hands it on. nginx's plain `proxy_pass` adds no header, but speaks HTTP/1.0."""
    return request.version < HttpVersion11 or any(name.lower().startswith(_OF_PROXIES) for name in request.headers)


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
