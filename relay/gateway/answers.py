"""What the sender gets: only a 5xx is surely retried by it, so whatever is our fault is answered 503."""

from __future__ import annotations

from enum import StrEnum

import orjson
from aiohttp import web

from relay.model import value
from relay.reply import Reply

RETRY_AFTER = "2"
"""Seconds, told with every 503."""
SERVER_NAME = "dyte-relay"
"""What the `server` header says: no version of anything."""


class Outcome(StrEnum):
    """How a request was answered. Closed: each value is a metric label."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    NOT_FOUND = "not_found"
    WRONG_METHOD = "wrong_method"
    UNSIGNED = "unsigned"
    BAD_SIGNATURE = "bad_signature"
    ENCODED = "encoded"
    TOO_LARGE = "too_large"
    SLOW = "slow"
    BROKEN = "broken"
    NO_KEY = "no_key"
    STALE_KEY = "stale_key"
    STORE = "store"
    OVERLOADED = "overloaded"
    LATE = "late"
    ERROR = "error"


_STATUS = {
    Outcome.ACCEPTED: 200,
    Outcome.DUPLICATE: 200,
    Outcome.NOT_FOUND: 404,
    Outcome.WRONG_METHOD: 405,
    Outcome.UNSIGNED: 401,
    Outcome.BAD_SIGNATURE: 401,
    Outcome.ENCODED: 415,
    Outcome.TOO_LARGE: 413,
}
"""All others are 503: our fault, or so we say, because the sender must try again."""
_HEAD = f"HTTP/1.1 200 OK\r\nserver: {SERVER_NAME}\r\ncontent-type: application/json\r\n".encode()


@value
class Answer:
    """What the sender gets."""

    outcome: Outcome
    event_id: str | None = None
    detail: str = ""
    """For the log; never sent."""
    close: bool = False

    def response(self, request: web.BaseRequest) -> web.StreamResponse:
        """The HTTP response."""
        status = _STATUS.get(self.outcome, 503)
        if status == 200 and self.event_id is not None and not self.close and Reply.fits(request):
            body = b'{"status":"%s","id":"%s"}' % (self.outcome.encode(), self.event_id.encode())
            return Reply(request, _HEAD, body)
        told = {"status": str(self.outcome)} | ({} if self.event_id is None else {"id": self.event_id})
        headers = {"server": SERVER_NAME}
        if status == 503:
            headers["retry-after"] = RETRY_AFTER
        if status == 405:
            headers["allow"] = "POST"
        response = web.Response(
            body=orjson.dumps(told), status=status, headers=headers, content_type="application/json"
        )
        if self.close:
            response.force_close()
        return response
