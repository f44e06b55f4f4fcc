"""How much of large bodies is in memory at a time. Anybody may send them: whether one is signed is known at its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

SMALL = 16 * 1024
"""Bytes; those of the sender have about a thousand. `max_inflight` bounds what these take, and they wait for nobody."""
MOST = 64 * 1024 * 1024
"""Bytes of all others together."""


class Bodies:
    """Counts the large ones of the requests at work."""

    def __init__(self, max_body: int) -> None:
        self._max_body = max_body
        self._bytes = 0

    def size(self, request: web.BaseRequest) -> int:
        """What to count: nothing for one that is small, is here already, or is refused for its size; and as much as
        there may be for one that does not say."""
        said = request.content_length
        if said is None:
            return 0 if request.content.is_eof() else self._max_body
        return said if SMALL < said <= self._max_body else 0

    @contextmanager
    def room_for(self, size: int) -> Iterator[bool]:
        """Whether a body of this size may be taken in; it counts for as long as the `with` lasts. One always may."""
        if self._bytes and self._bytes + size > MOST:
            yield False
            return
        self._bytes += size
        try:
            yield True
        finally:
            self._bytes -= size
