"""Events, deliveries and sinks as machines read them: what `--json` prints and the API answers. Pure."""

from __future__ import annotations

import base64
from dataclasses import asdict
from enum import StrEnum

import orjson

from relay.records import DeliveryRecord, EventRecord, SinkRecord, Tally
from relay.sensitive import concealed


class Body(StrEnum):
    """How much of a body is shown."""

    NONE = "none"
    CONCEALED = "concealed"
    """Without what opens a stream or a file; a body that cannot be read is not shown, because nothing can be hidden."""
    WHOLE = "whole"


def event_view(record: EventRecord, *, body: Body = Body.NONE) -> dict[str, object]:
    """An event: identifiers and sizes, and of its content what is asked for."""
    event = record.event
    found: dict[str, object] = {
        "id": event.id,
        "state": record.state,
        "detail": record.detail,
        "source": event.source,
        "type": event.type,
        "accepted": event.received_at.isoformat(),
        "meeting": event.meeting,
        "session": event.session,
        "organization": event.organization,
        "stream": event.stream,
        "uuid": event.uuid,
        "webhook_id": event.webhook_id,
        "defect": event.defect,
        "headers": dict(event.headers),
        "bytes": len(event.body),
    }
    return found | _body(record, body)


def delivery_view(record: DeliveryRecord) -> dict[str, object]:
    """A delivery with its failed attempts."""
    return asdict(record)


def sink_view(record: SinkRecord) -> dict[str, object]:
    """A sink as the store knows it."""
    return asdict(record)


def tally_view(tally: Tally) -> dict[str, object]:
    """How many deliveries stand in one state."""
    return asdict(tally)


def _body(record: EventRecord, body: Body) -> dict[str, object]:
    event = record.event
    if body is Body.NONE or (body is Body.CONCEALED and event.defect is not None):
        return {}
    if event.defect is not None:
        return {"body_base64": base64.b64encode(event.body).decode()}
    if body is Body.WHOLE:
        return {"body": event.body.decode()}
    return {"body": orjson.dumps(concealed(event.payload)).decode()}  # never the bytes: a key may stand there twice
