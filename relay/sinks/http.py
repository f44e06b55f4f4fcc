"""HTTP services, through aiohttp's client."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Mapping
from dataclasses import field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Literal
from urllib.parse import urlsplit

import aiohttp
from pydantic import Field, HttpUrl, field_validator

from relay import __version__
from relay.clock import SystemClock
from relay.cloudevents import attributes, content_type, http_header
from relay.errors import DeliveryError, Misconfigured, Rejected, Unavailable
from relay.model import Delivery, Reason, value
from relay.options import LaneOptions, Secret, Unfit
from relay.ports import Clock
from relay.preview import Look, Preview, json_of
from relay.sinks.address import BLOCKED, guarded_socket
from relay.sinks.curl import Masked, curl, variable
from relay.standard_webhooks import read_secret, sign

CONNECT_TIME = 5.0
MAX_RESPONSE = 64 * 1024
"""Bytes of a response that are read; the status decides, and the rest only keeps the connection usable."""
MAX_RETRY_AFTER = timedelta(hours=1)

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_HEADER_VALUE = re.compile(r"[\x20-\x7e\t]{0,4096}", re.ASCII)
_OURS = ("ce-", "webhook-", "relay-")
_RESERVED = {
    "connection", "content-length", "content-type", "host", "keep-alive", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade",
}  # fmt: skip

_RETRIED = {408: Reason.TIMEOUT, 425: Reason.UNAVAILABLE, 429: Reason.THROTTLED}
_REJECTED = {400: Reason.REFUSED, 413: Reason.TOO_LARGE, 415: Reason.REFUSED, 422: Reason.REFUSED}
_SUSPECT = {
    401: Reason.UNAUTHORIZED,
    403: Reason.UNAUTHORIZED,
    404: Reason.NOT_FOUND,
    405: Reason.NOT_FOUND,
}


class HttpOptions(LaneOptions):
    """An HTTP service that takes events by POST."""

    type: Literal["http"]
    url: HttpUrl
    """Where to post. Redirects are not followed."""
    headers: Mapping[str, Secret] = Field(default_factory=dict)
    """Headers to add, for instance `authorization`."""
    secret: Secret | tuple[Secret, ...] = ()
    """Standard Webhooks signing secret (`whsec_…`); a list while rotating: the receiver may accept any of them."""
    allow_private: bool = False
    """`true` lets the sink reach loopback, private and link-local addresses."""

    @property
    def signing_keys(self) -> tuple[bytes, ...]:
        """The key bytes, current one first."""
        secrets = self.secret if isinstance(self.secret, tuple) else (self.secret,)
        return tuple(read_secret(secret.get_secret_value()) for secret in secrets)

    @field_validator("url")
    @classmethod
    def _without_credentials(cls, url: HttpUrl) -> HttpUrl:
        if url.username or url.password:
            raise Unfit("must not hold a user or password; put them into `headers` as authorization")
        return url

    @field_validator("secret")
    @classmethod
    def _readable(cls, given: Secret | tuple[Secret, ...]) -> Secret | tuple[Secret, ...]:
        for secret in given if isinstance(given, tuple) else (given,):
            try:
                read_secret(secret.get_secret_value())
            except ValueError as error:
                raise Unfit(str(error)) from error
        return given

    @field_validator("headers")
    @classmethod
    def _sendable(cls, headers: Mapping[str, Secret]) -> Mapping[str, Secret]:
        for name, text in headers.items():
            lower = name.lower()
            if not _HEADER_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no header name")
            if lower in _RESERVED or lower.startswith(_OURS):
                raise ValueError(f"{name!r} is set by the relay itself")
            if not _HEADER_VALUE.fullmatch(text.get_secret_value()):
                raise ValueError(f"the value of {name!r} must be one line of printable ASCII")
        return headers


@value
class HttpRequest:
    """One request, as it goes out."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class HttpSink:
    """Posts each delivery, signed, with its CloudEvents attributes as headers."""

    def __init__(self, name: str, options: HttpOptions, *, clock: Clock | None = None) -> None:
        self._name = name
        self._options = options
        self._now = (clock or SystemClock()).now
        self._keys = options.signing_keys
        self._url = str(options.url)
        given = {header.lower(): text.get_secret_value() for header, text in options.headers.items()}
        self._given = frozenset(given)
        self._fixed = {"user-agent": f"dyte-relay/{__version__}"} | given
        self._session: aiohttp.ClientSession | None = None

    async def deliver(self, delivery: Delivery) -> str:
        """See `Sink.deliver`. The receipt is the status."""
        session, request = self._connected(), self.request(delivery)
        try:
            async with session.post(
                request.url, data=request.body, headers=request.headers, allow_redirects=False
            ) as response:
                status, asked = response.status, response.headers.get("retry-after")
                if not response.content.is_eof():  # nearly always all of it is here by now
                    await self._drain(response)
        except (aiohttp.ClientError, OSError, UnicodeError) as error:
            raise _connection_failure(error) from error
        failure = outcome(status, asked, now=self._now())
        if failure is not None:
            raise failure
        return str(status)

    def request(self, delivery: Delivery) -> HttpRequest:
        """What would be posted now: each attempt is signed anew."""
        return HttpRequest(url=self._url, headers=self._headers(delivery), body=delivery.body)

    def preview(self, delivery: Delivery, look: Look) -> Preview:
        """See `Previewed.preview`. The path of a URL counts as a secret: many services have their key there."""
        request = self.request(look.of(delivery))
        url: str | Masked = request.url
        headers: dict[str, str | Masked] = dict(request.headers)
        if not look.secrets:
            url = _masked_url(request.url, self._name)
            headers |= {name: Masked(name=variable(name)) for name in self._secret_headers(headers)}
        command = curl(url, headers, request.body)
        return Preview(
            facts={"method": "POST", "url": str(url), "curl": command},
            headers={name: str(text) for name, text in headers.items()},
            payload=json_of(request.body),
            body=request.body,
            pictures={"curl": command},
            pictured=True,
            variables=[text.name for text in (url, *headers.values()) if isinstance(text, Masked)],
        )

    async def close(self) -> None:
        """See `Sink.close`."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            guard = None if self._options.allow_private else guarded_socket
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._options.concurrency, socket_factory=guard),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIME),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session

    def _headers(self, delivery: Delivery) -> dict[str, str]:
        headers = self._fixed | {
            "content-type": content_type(delivery),
            "webhook-id": delivery.event.id,
            "relay-route": delivery.route,
            "relay-attempt": str(delivery.attempt),
        }
        for attribute, text in attributes(delivery).items():
            headers[f"ce-{attribute}"] = http_header(text)
        if delivery.replay:
            headers["relay-replay"] = str(delivery.replay)
        timestamp = int(self._now().timestamp())
        headers["webhook-timestamp"] = str(timestamp)
        if self._keys:
            headers["webhook-signature"] = sign(
                self._keys, message_id=delivery.event.id, timestamp=timestamp, body=delivery.body
            )
        return headers

    def _secret_headers(self, headers: Collection[str]) -> list[str]:
        return [name for name in headers if name in self._given or name == "webhook-signature"]

    @staticmethod
    async def _drain(response: aiohttp.ClientResponse) -> None:
        """Read a little, so that the connection can be used again; drop it if there is more, or if it comes slowly."""
        try:
            async with asyncio.timeout(1.0):
                left = MAX_RESPONSE
                while left > 0 and (chunk := await response.content.read(left)):
                    left -= len(chunk)
        except (TimeoutError, aiohttp.ClientError):
            left = 0
        if left <= 0:
            response.close()


def _masked_url(url: str, sink: str) -> str | Masked:
    """The URL with a variable for what follows its host."""
    parts = urlsplit(url)
    if parts.path in ("", "/") and not parts.query:
        return url
    return Masked(before=f"{parts.scheme}://{parts.netloc}/", name=variable(f"{sink}_PATH"))


def outcome(status: int, retry_after: str | None, *, now: datetime) -> DeliveryError | None:
    """What a status means: None is delivered. See contract §3; a 2xx is the only success, and a redirect is none."""
    detail = f"the service answered {status}"
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return Misconfigured(Reason.REDIRECT, f"{detail}; redirects are not followed: set the final url", certain=False)
    if status == 410:
        return Misconfigured(Reason.GONE, f"{detail}: it wants no more events; change or remove the sink")
    if status in _SUSPECT:
        return Misconfigured(_SUSPECT[status], f"{detail}; check the sink's url and headers", certain=False)
    if status in _REJECTED:
        return Rejected(_REJECTED[status], f"{detail}: it will never take this event")
    reason = _RETRIED.get(status, Reason.UNAVAILABLE if status >= 500 else Reason.REFUSED)
    return Unavailable(reason, detail, retry_after=parse_retry_after(retry_after, now=now))


def parse_retry_after(text: str | None, *, now: datetime) -> timedelta | None:
    """Seconds or an HTTP date, clamped to `MAX_RETRY_AFTER`; None for anything else, also for no wait at all.

    https://www.rfc-editor.org/rfc/rfc9110#name-retry-after
    """
    text = (text or "").strip()
    try:
        if text.isascii() and text.isdigit():
            wait = timedelta(seconds=int(text.lstrip("0")[:9] or "0"))
        else:
            moment = parsedate_to_datetime(text)
            wait = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now
    except (ValueError, IndexError, OverflowError):
        return None
    return min(wait, MAX_RETRY_AFTER) if wait > timedelta(0) else None


def _connection_failure(error: Exception) -> DeliveryError:
    """What went wrong on the way. Only texts that name a host are passed on; the client's others hold the whole url."""
    text = _connector_text(error)
    match error:
        case _ if BLOCKED in text:
            hint = "set allow_private: true if this is meant"
            return Misconfigured(Reason.BLOCKED_ADDRESS, f"{text[text.index(BLOCKED) :]}; {hint}")
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return Misconfigured(Reason.TLS, f"TLS failed: {text}")
        case aiohttp.ClientConnectorDNSError():
            return Unavailable(Reason.DNS, f"the name does not resolve: {text}")
        case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError():
            return Unavailable(Reason.CONNECT, f"no connection: {text}")
        case aiohttp.InvalidURL() | UnicodeError():  # the latter: a host that is no name
            return Misconfigured(Reason.REFUSED, "the client refuses this url")
        case _:
            return Unavailable(Reason.RESET, f"the connection broke ({type(error).__name__}); it may have arrived")


def _connector_text(error: Exception) -> str:
    """Where to and why not. The connector's own text lacks the reason where several addresses were tried."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return str(error)
        case aiohttp.ClientConnectorError(os_error=reason):
            return f"{error.host}:{error.port}: {str(reason) or type(reason).__name__}"
        case aiohttp.ConnectionTimeoutError():
            return f"no answer within {CONNECT_TIME:g} s"
        case _:
            return ""
