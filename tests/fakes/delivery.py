"""Deliveries for tests of sinks: of any payload or bytes, parsed as leniently as the gateway does."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from relay.model import UNREADABLE, Delivery, Event
from relay.payload import decode, find


def delivery(payload: Any, *, event_type: str | None = None, replay: int = 0, body: bytes | None = None) -> Delivery:
    raw = json.dumps(payload).encode() if body is None else body
    decoded = decode(raw)
    event = Event(
        id="01931b2e-7f00-7000-8000-000000000001",
        source="dyte",
        type=event_type or find(decoded.payload, "event") or UNREADABLE,
        body=raw,
        headers={},
        received_at=datetime(2026, 11, 23, 11, 30, tzinfo=UTC),
        defect=decoded.defect,
    )
    return Delivery(id=1, event=event, route="r", sink="oncall", attempt=1, tries=1, replay=replay, body=raw)
