"""An answer in one piece, for the one that is given nearly always.

aiohttp builds a response from a map of headers, which costs more than all that the gateway itself does with a request.
What it would write for us is always the same but for the date and the body; the rest of its server stays as it is.
"""

from __future__ import annotations

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import rfc822_formatted_time


class Reply(web.StreamResponse):
    """A response whose head is written already, on a connection that stays open.

    aiohttp's server asks three things of a response: `prepare`, `write_eof` and `keep_alive`;
    tests/integration/test_server.py compares what comes out with aiohttp's own.
    """

    def __init__(self, request: web.BaseRequest, head: bytes, body: bytes) -> None:
        """`head` is the status line and the headers, but for those that depend on the time and on the body."""
        super().__init__()
        self._writer = request.writer
        date = rfc822_formatted_time()
        self._whole = b"%scontent-length: %d\r\ndate: %s\r\n\r\n%s" % (head, len(body), date.encode(), body)

    @staticmethod
    def fits(request: web.BaseRequest) -> bool:
        """Whether such an answer is right for a request: one of HTTP/1.1 that keeps the connection."""
        return request.version == HttpVersion11 and request.keep_alive

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays open."""
        return True

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:  # noqa: ARG002 - aiohttp's signature
        """Nothing needs to be prepared."""
        return self._writer

    async def write_eof(self, data: bytes = b"") -> None:  # noqa: ARG002 - aiohttp's signature
        """Send all of it."""
        await self._writer.write(self._whole)
