"""Builders: a usual event or delivery, of which a test names only what matters to it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson

from relay.dyte import Signature, parse
from relay.model import Delivery, Event

EVENT_ID = "01931b2e-7f00-7000-8000-000000000001"
RECEIVED_AT = datetime(2026, 11, 23, 11, 30, 15, 678901, tzinfo=UTC)
PAYLOAD: dict[str, Any] = {
    "event": "meeting.started",
    "meeting": {
        "id": "bbb0f1c4-a-meeting",
        "sessionId": "c1d2e3-a-session",
        "title": "Täglich",
        "organizedBy": {"id": "an-organization", "name": "Example"},
    },
}


def event(**overrides: Any) -> Event:
    """An event as `parse` makes one; `payload=` and `body=` set its body, and what follows from it."""
    overrides = dict(overrides)
    payload = overrides.pop("payload", PAYLOAD)
    body = overrides.pop("body", None)
    made = parsed(orjson.dumps(payload) if body is None else body, source=overrides.pop("source", "dyte"))
    known = {name: getattr(made, name) for name in Event.__dataclass_fields__}
    return Event(**(known | overrides))


def delivery(**overrides: Any) -> Delivery:
    """A first attempt; what is no field of a delivery goes to its event."""
    own = {name: overrides.pop(name) for name in Delivery.__dataclass_fields__ if name in overrides}
    of = own.pop("event", None) or event(**overrides)
    usual: dict[str, Any] = {
        "id": 1,
        "event": of,
        "route": "a-route",
        "sink": "a-sink",
        "attempt": 1,
        "tries": 1,
        "body": of.body,
    }
    return Delivery(**(usual | own))


def parsed(body: bytes, *, source: str = "dyte", headers: tuple[tuple[str, str], ...] = ()) -> Event:
    """The event of a request with this body, as the gateway would make it."""
    return parse(
        event_id=EVENT_ID,
        source=source,
        body=body,
        signature=Signature(family="dyte", bytes=b"", uuid="a-uuid", webhook_id="a-webhook"),
        headers=headers,
        received_at=RECEIVED_AT,
    )
