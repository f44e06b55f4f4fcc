"""The nouns: frozen values without I/O. Every other module speaks in these words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import TypeAlias, TypeVar, dataclass_transform

from relay.payload import Defect, Payload, decode

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def value(cls: type[T]) -> type[T]:
    """Make a class a value: frozen, slotted, built by keyword only."""
    return dataclass(frozen=True, slots=True, kw_only=True)(cls)


UNREADABLE = "unreadable"
"""The event type of a signed body from which no type could be read; only a fallback route takes it."""


@dataclass(frozen=True, kw_only=True)  # no slots: cached_property keeps the payload in __dict__
class Event:
    """One verified webhook, as it was accepted."""

    id: str
    """Ours: a UUIDv7, sortable by time; the same on every attempt, replay and sink."""
    source: str
    type: str
    body: bytes
    """The signed bytes, never re-serialized."""
    headers: Mapping[str, str]
    """The sender's headers that are worth keeping, in lower case."""
    received_at: datetime
    webhook_id: str | None = None
    """The sender's id of the registration. Unsigned: a hint for dedupe, no proof."""
    uuid: str | None = None
    """The sender's id of the delivery. Unsigned too."""
    meeting: str | None = None
    session: str | None = None
    organization: str | None = None
    stream: str | None = None
    """The livestream's id: Dyte's livestream events name no meeting, so this is all that ties them together."""
    defect: Defect | None = None

    @cached_property
    def payload(self) -> Payload:
        """The decoded body; empty where it has a defect."""
        return decode(self.body).payload

    @property
    def thread(self) -> str | None:
        """What this event belongs to and is ordered within: its meeting, or its livestream if no meeting is named."""
        return self.meeting or self.stream

    def log_context(self) -> dict[str, object]:
        """What a log line may say of an event: identifiers and sizes, never content."""
        return {
            "event": self.id,
            "source": self.source,
            "type": self.type,
            "meeting": self.meeting,
            "uuid": self.uuid,
            "webhook_id": self.webhook_id,
            "bytes": len(self.body),
        }


class Quarantine(StrEnum):
    """Why an authentic event is kept but delivered nowhere: one key signs for all of the sender's customers."""

    ORGANIZATION = "organization_not_allowed"
    WEBHOOK_ID = "webhook_id_not_allowed"


@value
class Target:
    """Where an event shall go: the sink, and the first route that named it."""

    route: str
    sink: str
    order_key: str | None = None
    """Deliveries of one sink with the same key go one after the other; None: in any order."""


@value
class Admission:
    """All that one commit writes: an event, its mark against duplicates, and its deliveries."""

    event: Event
    targets: Sequence[Target] = ()
    quarantine: Quarantine | None = None
    replay_window: timedelta = timedelta(0)
    """How long the same body under a new uuid counts as a retry; zero where bodies of this type may honestly repeat."""
    config: str = ""
    """Hash of the configuration that chose the targets."""


class DuplicateKind(StrEnum):
    """How a duplicate was told."""

    UUID = "uuid"
    BODY = "body"


@value
class Acceptance:
    """What the store made of an admission."""

    event_id: str
    """The stored event's id; for a duplicate, that of the event it repeats."""
    duplicate: DuplicateKind | None = None
    conflict: bool = False
    """The uuid was seen before with another body: kept as an event of its own, and worth an alarm."""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One event on its way to one sink."""

    id: int
    event: Event
    route: str
    sink: str
    attempt: int
    """Counts claims; fences `settle` against a worker that wakes up late."""
    tries: int
    """Counts the attempts that burn the retry budget, this one included."""
    replay: int = 0
    """How often it was replayed."""
    replay_at: datetime | None = None
    """When the last replay was meant to go out."""
    body: bytes
    """What to send: the event's bytes, or what `select` and `redact` made of them."""

    @property
    def owed_since(self) -> datetime:
        """Since when the sink should have it: the event's acceptance, or the last replay."""
        return self.replay_at or self.event.received_at

    @cached_property
    def payload(self) -> Payload:
        """The decoded `body`."""
        return self.event.payload if self.body is self.event.body else decode(self.body).payload

    def log_context(self) -> dict[str, object]:
        """Who, where to and how often."""
        return {
            "delivery": self.id,
            "event": self.event.id,
            "type": self.event.type,
            "sink": self.sink,
            "route": self.route,
            "attempt": self.attempt,
        }


class Reason(StrEnum):
    """Why an attempt failed. Closed: each value is a metric label."""

    TIMEOUT = "timeout"
    CONNECT = "connect"
    DNS = "dns"
    RESET = "reset"
    TLS = "tls"
    THROTTLED = "throttled"
    UNAVAILABLE = "unavailable"
    REDIRECT = "redirect"
    UNAUTHORIZED = "unauthorized"
    NOT_FOUND = "not_found"
    GONE = "gone"
    REFUSED = "refused"
    TOO_LARGE = "too_large"
    BLOCKED_ADDRESS = "blocked_address"
    UNKNOWN_TOPIC = "unknown_topic"
    TEMPLATE = "template"
    IO = "io"
    EXHAUSTED = "exhausted"
    EXPIRED = "expired"
    POISON = "poison"
    STOPPING = "stopping"
    PAUSED = "paused"
    """Not a failure: a person paused the sink."""


@value
class Failure:
    """Why one attempt failed, in a closed word and in a sentence that a person understands."""

    reason: Reason
    detail: str


@value
class Delivered:
    """The sink has it."""

    receipt: str


@value
class Retry:
    """Not yet: try again."""

    failure: Failure
    at: datetime
    counted: bool = True
    """Whether the attempt burns the retry budget; a throttled, paused or interrupted one does not."""


@value
class Dead:
    """Never: kept as a dead letter."""

    failure: Failure


Verdict: TypeAlias = Delivered | Retry | Dead


class GateState(StrEnum):
    """A sink's state; each value is a metric label."""

    OPEN = "open"
    """Deliveries flow."""
    BROKEN = "broken"
    """The breaker has tripped: probes only, soon again."""
    PAUSED = "paused"
    """Misconfigured: probes only. Or paused by a person: nothing."""


class DeliveryState(StrEnum):
    """Moves one way only; a replay starts over at pending."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


class EventState(StrEnum):
    """What became of an accepted event; the three add up to all accepted ones."""

    ROUTED = "routed"
    UNROUTED = "unrouted"
    QUARANTINED = "quarantined"


@value
class Selection:
    """Which deliveries are meant; what is None does not matter."""

    event_id: str | None = None
    meeting: str | None = None
    source: str | None = None
    type_glob: str | None = None
    sink: str | None = None
    route: str | None = None
    states: frozenset[DeliveryState] = frozenset(DeliveryState)
    since: datetime | None = None
    """Accepted at this moment or later."""
    until: datetime | None = None
    """Accepted before this moment."""
    upto: int | None = None
    """Accepted no later than the ledger ended here: a place from `Ledger.end`."""


@value
class Wish:
    """What people want of a sink."""

    paused: bool
    at: datetime
    """When they said so; asking twice is two wishes, so that `resume` can be said again."""


Settled: TypeAlias = tuple[Delivery, Verdict]
Now: TypeAlias = Callable[[], datetime]
