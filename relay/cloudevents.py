"""CloudEvents 1.0 attributes of a delivery, as all sinks send them. Pure.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
"""

from __future__ import annotations

import re
from datetime import datetime
from urllib.parse import quote

from relay.model import Delivery

_PLAIN = re.compile(r"[A-Za-z0-9:._-]*", re.ASCII)
"""Nothing in it needs to be encoded; a look at that costs less."""
JSON = "application/json"
SPEC_VERSION = "1.0"
BINARY = "application/octet-stream"


def attributes(delivery: Delivery) -> dict[str, str]:
    """The context attributes; the id is the same on every attempt, replay and sink, so that receivers can dedupe."""
    event = delivery.event
    found = {
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "time": moment(event.received_at),
        "specversion": SPEC_VERSION,
    }
    if event.meeting:
        found["subject"] = event.meeting
    return found


def moment(at: datetime) -> str:
    """A moment as `time` has it: RFC 3339, in UTC."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def content_type(delivery: Delivery) -> str:
    """JSON, unless the signed body is not even that."""
    defect = delivery.event.defect
    return JSON if defect is None or defect.is_json else BINARY


def http_header(text: str) -> str:
    """An attribute as an HTTP header: percent-encoded where it is not printable ASCII.

    https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md#3132-http-header-values
    """
    return text if _PLAIN.fullmatch(text) else quote(text, safe="!#$&'()*+,-./:;<=>?@[\\]^_`{|}~")
