"""Servers and channels of an AsyncAPI document, before they are put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field

from relay.events.schema import Schema
from relay.model import value


@value
class Server:
    """A Kafka broker or an HTTP service."""

    id: str
    host: str
    protocol: str
    description: str
    schemes: Mapping[str, Schema] = field(default_factory=dict)
    """How the relay makes itself known to it: security schemes by name."""


@value
class Channel:
    """A topic, or the requests to a service."""

    id: str
    address: str | None
    """None: not told."""
    title: str
    description: str
    servers: Sequence[str]
    messages: Mapping[str, Schema]
    """By event type."""
    operation: Schema
    """The bindings of sending."""
    bindings: Schema = field(default_factory=dict)
    schemes: Mapping[str, Schema] = field(default_factory=dict)
    """How a receiver can tell that the relay has sent it."""


def ref(*path: str) -> Schema:
    """A reference into the document."""
    return {"$ref": "#/" + "/".join(path)}
