"""The HTTP server under the public side: what must not depend on a client's good will.

aiohttp waits without end for the rest of a request's headers, takes any number of connections, and answers what is no
HTTP with a page that repeats it and a traceback in the log. Here a request's headers have a deadline, on each request
of a connection; connections are counted; and whatever is wrong gets the same few words.

`_waiter` is aiohttp's own: set while a connection waits for a request. tests/integration/test_server.py holds this
module to what it relies on.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, cast

import aiohttp
from aiohttp import StreamReader, http_parser, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from relay.errors import StartError
from relay.model import value

OLDEST_SAFE_AIOHTTP = (3, 14, 4)
"""Below it requests can be smuggled: https://github.com/aio-libs/aiohttp/blob/master/CHANGES.rst (CVE-2026-111750)."""


def check_library() -> None:
    """Raises StartError where this aiohttp must not face the internet: too old, or without its parser in C, which has
    fewer ways to read a request than the one in Python."""
    version = tuple(int(part) for part in re.findall(r"\d+", aiohttp.__version__)[:3])
    if version < OLDEST_SAFE_AIOHTTP:
        floor = ".".join(map(str, OLDEST_SAFE_AIOHTTP))
        raise StartError(f"aiohttp {aiohttp.__version__} has known holes; install {floor} or newer")
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        raise StartError(
            "aiohttp runs without its parser in C; install it from a wheel, and unset AIOHTTP_NO_EXTENSIONS"
        )


@value
class Limits:
    """What a client may take."""

    connections: int
    """Open at the same time; one more is closed at once, which the sender retries like any network error."""
    header_seconds: float
    """From the first byte of a request to the end of its headers."""
    idle_seconds: float
    """Between two requests of one connection, and before the first."""
    answer_seconds: float
    """For an answer to be taken; who reads nothing would hold the connection, and its place, for ever."""
    linger_seconds: float
    """How long the rest of a body that was refused is read and thrown away, so that its sender sees the answer."""


class Watcher(Protocol):
    """Who is told of what never becomes a request."""

    def connection_refused(self) -> None:
        """One too many."""

    def headers_timed_out(self) -> None:
        """Somebody began a request and did not go on."""

    def answer_unread(self) -> None:
        """Somebody did not read an answer."""

    def request_malformed(self) -> None:
        """Something came that is no HTTP."""


_READ_AHEAD = 16 * 1024
"""Bytes of a body that are kept before anybody has asked for them, and as much again. There may be thousands of
connections, and whoever is behind them has signed nothing so far."""


class Server(web.Server):
    """Hands each request to one function, within limits."""

    def __init__(
        self,
        handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        *,
        name: str,
        max_body: int,
        limits: Limits,
        watcher: Watcher,
    ) -> None:
        """`name` is what the `server` header says."""
        super().__init__(
            handle,
            access_log=None,
            auto_decompress=False,  # the signature is over the bytes as they were sent
            keepalive_timeout=limits.idle_seconds,
            lingering_time=limits.linger_seconds,
            read_bufsize=_READ_AHEAD,
        )
        self.name = name
        self.max_body = max_body
        self.limits = limits
        self.watcher = watcher

    def __call__(self) -> RequestHandler:
        """The protocol of a new connection."""
        return Connection(self, loop=self._loop, **self._kwargs)

    def _make_request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        parts = (message, payload, protocol, writer, task, self._loop)
        return web.BaseRequest(*parts, client_max_size=self.max_body)


class Connection(RequestHandler):
    """One connection."""

    __slots__ = ("_answer_due", "_headers_due", "_server", "_wire")

    def __init__(self, server: Server, **settings: Any) -> None:
        super().__init__(server, **settings)
        self._server = server
        self._headers_due: asyncio.TimerHandle | None = None
        self._answer_due: asyncio.TimerHandle | None = None
        self._wire: asyncio.Transport | None = None
        """aiohttp forgets its own when it closes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless there are too many already."""
        self._wire = cast("asyncio.Transport", transport)
        # Answers are small: any byte that the system does not take at once starts the clock.
        self._wire.set_write_buffer_limits(high=0)
        super().connection_made(transport)
        if len(self._server.connections) > self._server.limits.connections:
            self._server.watcher.connection_refused()
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """End."""
        self._headers_are_due(no=True)
        self._answer_is_due(no=True)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read; from now on the clock ticks."""
        super().pause_writing()
        self._answer_is_due(no=False)

    def resume_writing(self) -> None:
        """It read."""
        self._answer_is_due(no=True)
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Take bytes; from the first of a request to the last of its headers the clock ticks."""
        super().data_received(data)
        waiting = self._waiter is not None and not self._waiter.done()
        self._headers_are_due(no=not waiting)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,  # noqa: ARG002 - aiohttp's signature
        message: str | None = None,  # noqa: ARG002
    ) -> web.StreamResponse:
        """Answer what is no request, or what we failed at; never with anything that came from outside."""
        if request.writer.output_size > 0:
            raise ConnectionError("part of an answer is sent already")
        if status < 500:
            self._server.watcher.request_malformed()
        response = web.Response(
            body=b'{"status":"malformed"}' if status < 500 else b'{"status":"error"}',
            status=400 if status < 500 else 503,
            headers={"server": self._server.name},
            content_type="application/json",
        )
        response.force_close()
        return response

    def _headers_are_due(self, *, no: bool) -> None:
        if no and self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None
        elif not no and self._headers_due is None:
            self._headers_due = self._loop.call_later(self._server.limits.header_seconds, self._too_slow)

    def _answer_is_due(self, *, no: bool) -> None:
        if self._answer_due is not None:
            self._answer_due.cancel()
            self._answer_due = None
        if not no:
            self._answer_due = self._loop.call_later(self._server.limits.answer_seconds, self._unread)

    def _unread(self) -> None:
        self._answer_due = None
        self._server.watcher.answer_unread()
        if self._wire is not None:
            self._wire.abort()  # to close in order would wait for the very bytes that nobody reads

    def _too_slow(self) -> None:
        self._headers_due = None
        self._server.watcher.headers_timed_out()
        self.force_close()
